"""The package as a whole: what can be imported, and what every picture has in common."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from coupling import figures
from coupling.choices import RUN_PICTURES, TABLE_PICTURES
from coupling.errors import CouplingError


def test_every_picture_is_a_function_of_the_package():
    assert {*RUN_PICTURES, *TABLE_PICTURES} <= set(figures.__all__)
    assert all(callable(getattr(figures, name)) for name in figures.__all__)


def test_the_base_install_is_enough_to_import_figures():
    program = """
import sys
for name in ("jinja2", "markupsafe"):
    sys.modules[name] = None  # importing it fails
import coupling
try:
    coupling.figures.report([])
except coupling.CouplingError as error:
    print("needs an extra" if "block-coupling[report]" in str(error) else error)
"""
    # find_spec reads sys.modules, where None means that a module is not installed
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "needs an extra\n", done.stderr


@pytest.mark.parametrize("picture", RUN_PICTURES)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_data_gives_the_same_bytes(picture, suffix, run, untrained, tmp_path):
    draw = getattr(figures, picture)
    first = figures.save(draw(run), tmp_path / f"a{suffix}").read_bytes()
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "text.usetex": False}):  # a user's own style
        second = figures.save(draw(run), tmp_path / f"b{suffix}").read_bytes()
    assert first == second
    assert first != figures.save(draw([run, untrained]), tmp_path / f"c{suffix}").read_bytes()
    if suffix == ".png":
        pixels = mpl.image.imread(tmp_path / "a.png")
        assert (pixels[..., :3].std(axis=(0, 1)) > 0.02).all()  # not blank
    if suffix == ".svg":
        words = "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())  # text, not outlines
        assert "block" in words or "component" in words or "token" in words or picture == "circle"


@pytest.mark.parametrize("picture", RUN_PICTURES)
def test_nothing_is_cut_off(picture, run, untrained, token_run):
    for runs in ([run], [run, untrained], [token_run]):
        if runs[0] is token_run and picture in ("circle", "angles", "checkpoints"):
            continue
        figure = getattr(figures, picture)(runs)
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(figure.canvas.get_renderer()), figure.get_size_inches()
        assert box.x0 >= -0.01
        assert box.y0 >= -0.01
        assert box.x1 <= width + 0.01
        assert box.y1 <= height + 0.01


@pytest.mark.parametrize("picture", ["grid", "heatmap", "angles"])
def test_several_runs_share_one_color_scale(picture, run, untrained):
    limits = [axes.images[0].get_clim() for axes in getattr(figures, picture)([run, untrained]).axes if axes.images]
    assert len(limits) >= 2
    assert len(set(limits)) == 1


@pytest.mark.parametrize("picture", ["grid", "heatmap", "circle", "angles"])
def test_runs_of_different_k_are_drawn_at_one_that_they_share(picture, run):
    draw, other = getattr(figures, picture), run.sel(k=[3])
    figure = draw([run, other])
    words = [axes.get_ylabel() for axes in figure.axes] + [legend.get_title().get_text() for legend in figure.legends]
    assert any("K = 3" in text or "3 × 3" in text for text in words)
    with pytest.raises(CouplingError, match="share no K"):
        draw([run.sel(k=[5]), other])
    with pytest.raises(CouplingError, match="not measured at K = 5"):
        draw([run, other], k=5)


def test_texts_that_would_break_a_picture_stay_text(run, tmp_path):
    hostile = run.copy()
    hostile.attrs["model"] = "org/$\\frac{1}$<script>\x00&\n"
    hostile["token_text"] = hostile.token_text.copy(data=np.full(hostile.token_text.shape, "<$&\x07\n"))
    for picture, arguments in (("trajectory", {}), ("linearity", {"prompt": 0}), ("heatmap", {})):
        path = figures.save(getattr(figures, picture)([hostile, hostile], **arguments), tmp_path / "hostile.svg")
        words = "".join(ElementTree.parse(path).getroot().itertext())
        assert "$\\frac{1}$<script>\\x00&" in words
