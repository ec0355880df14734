"""Every picture against the numbers that it draws, computed again by other means."""

import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import PathPatch
from scipy.linalg import subspace_angles

import coupling
from coupling import figures
from coupling.choices import RUN_PICTURES
from coupling.errors import CouplingError
from coupling.figures.angles import subspace_angle
from coupling.figures.circle import excess_over_chance
from coupling.figures.spectrum import straightness
from coupling.figures.style import PALETTE, printable
from coupling.figures.trajectory import principal_components
from coupling.models.loading import load
from coupling.models.tokenization import tokenize


@pytest.fixture(scope="module")
def jacobians(run):
    """Dense Jacobians of the first prompt's last token, and their singular value decompositions."""
    checkpoint = load()
    inputs = tokenize(checkpoint, [str(run.prompt_text.values[0])])[0]
    recording = coupling.record(checkpoint.model, inputs)
    dense = [
        recording.jacobian(block, recording.n_tokens - 1, recording.n_tokens - 1).to_dense().double().numpy()
        for block in range(recording.n_blocks)
    ]
    return dense, [np.linalg.svd(matrix) for matrix in dense], recording


@pytest.mark.parametrize("kind", RUN_PICTURES)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_data_gives_the_same_bytes(kind, suffix, run, untrained, tmp_path):
    draw = getattr(figures, kind)
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
        assert "block" in words or "component" in words or "token" in words or kind == "circle"


def test_grid_tiles_are_one_jacobian_in_the_frames_of_another(run, jacobians):
    dense, factors, _ = jacobians
    figure = figures.grid(run, k=5, blocks=(2, 6))
    image = figure.axes[0].images[0].get_array()
    assert image.shape == (4 * 5 + 3, 4 * 5 + 3)  # tiles of 5 and gaps of 1
    for row, a in enumerate(range(2, 6)):
        for column, b in enumerate(range(2, 6)):
            left, _, right = factors[b]
            tile = np.abs(left[:, :5].T @ dense[a] @ right[:5].T)
            drawn = image[row * 6 : row * 6 + 5, column * 6 : column * 6 + 5]
            assert np.allclose(drawn, tile, atol=2e-4 * tile.max())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["2", "3", "4", "5"]
    assert figures.grid(run, k=3).axes[0].images[0].get_array().shape == (31, 31)  # all eight blocks: the middle ones


def test_grid_has_one_color_scale_that_a_single_huge_jacobian_does_not_blank(run):
    image = figures.grid(run).axes[0].images[0]
    assert image.get_clim()[0] == 0
    assert image.get_array().max() > 2 * image.get_clim()[1]  # block 0 of this checkpoint dwarfs the others
    assert figures.grid(run, highest=7.0).axes[0].images[0].get_clim() == (0, 7)


@pytest.mark.parametrize("kind", ["grid", "heatmap", "angles"])
def test_several_runs_share_one_color_scale(kind, run, untrained):
    limits = [axes.images[0].get_clim() for axes in getattr(figures, kind)([run, untrained]).axes if axes.images]
    assert len(limits) >= 2
    assert len(set(limits)) == 1


@pytest.mark.parametrize("kind", RUN_PICTURES)
def test_nothing_is_cut_off(kind, run, untrained, token_run):
    for runs in ([run], [run, untrained], [token_run]):
        if runs[0] is token_run and kind in ("circle", "angles"):
            continue
        figure = getattr(figures, kind)(runs)
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(figure.canvas.get_renderer()), figure.get_size_inches()
        assert box.x0 >= -0.01
        assert box.y0 >= -0.01
        assert box.x1 <= width + 0.01
        assert box.y1 <= height + 0.01


def test_runs_of_different_k_are_drawn_at_one_that_they_share(run, token_run):
    other = run.sel(k=[3])
    for kind in ("grid", "heatmap", "circle", "angles"):
        figure = getattr(figures, kind)([run, other])
        words = [axes.get_ylabel() for axes in figure.axes] + [
            legend.get_title().get_text() for legend in figure.legends
        ]
        assert any("K = 3" in text or "3 × 3" in text for text in words), kind
        with pytest.raises(CouplingError, match="share no K"):
            getattr(figures, kind)([run.sel(k=[5]), other])
        with pytest.raises(CouplingError, match="no K = 5"):
            getattr(figures, kind)([run, other], k=5)


def test_pairs_that_begin_with_one_block_are_told_apart():
    run = coupling.analyze(prompts=["for name in names:"], k=2, kind="self", block_pairs=((2, 5), (2, 6)))
    first, second = (
        figures.heatmap(run, block=name).axes[0].images[0].get_array() for name in ("2:5", "2:6")
    )  # fmt: skip
    assert not np.allclose(first, second)
    assert "block 2:6" in figures.heatmap(run, block="2:6").axes[0].get_ylabel()
    assert "block 2:5" in figures.grid(run, block="2:5").axes[1].get_ylabel()
    with pytest.raises(CouplingError, match="several of block 2: it holds 2:5, 2:6"):
        figures.heatmap(run, block=2)
    assert len(figures.spectrum(run).axes[0].lines[0].get_xdata()) == 1
    page = figures.report(run)
    assert '<option value="2:6">2:6</option>' in page


def test_a_wide_range_has_plain_numbers_on_its_axis(run):
    wide = run.copy()
    wide["expodistance"] = wide.expodistance.copy(
        data=np.where(np.arange(wide.sizes["token"]) == 0, 1e4, wide.expodistance)
    )
    figure = figures.linearity(wide)
    figure.draw_without_rendering()
    assert figure.axes[1].get_yscale() == "log"
    assert not any("$" in label.get_text() for label in figure.axes[1].get_yticklabels())
    assert "1000" in [label.get_text() for label in figure.axes[1].get_yticklabels()]


def test_long_prompts_weigh_no_more_than_short_ones():
    run = coupling.analyze(prompts=["a = 1", "def f(x, y):\n    return x + y"], k=3, token="all")
    share = excess_over_chance(run, k=3)
    m, chance = (run[name].sel(k=3, norm=2).mean("token").mean("prompt").values for name in ("mismatch", "chance"))
    expected = 1 - m / chance
    assert share[4, 2] == pytest.approx((expected[4, 2] + expected[2, 4]) / 2)
    drawn = figures.heatmap(run).axes[0].images[0].get_array()
    assert float(drawn.mean()) == pytest.approx(coupling.score(run, k=3))


def test_grid_and_heatmap_of_tokens_are_labeled_with_their_text(token_run):
    labels = [label.get_text() for label in figures.grid(token_run, tokens=(0, 3)).axes[0].get_yticklabels()]
    assert labels == [printable(str(text), blank="·") for text in token_run.token_text.values[0][:3]]
    axes = figures.heatmap(token_run, prompt=0, block=2).axes[0]
    coupled = 1 - token_run.mismatch.sel(k=3, norm=2).isel(prompt=0, block=2).values
    off = ~np.eye(len(coupled), dtype=bool)
    assert np.allclose(axes.images[0].get_array()[off], coupled[off])
    assert "block 2" in axes.get_ylabel()


@pytest.mark.parametrize("variant", [{}, {"signed": True}, {"swapped": True, "norm": 1, "k": 3, "prompt": 1}])
def test_heatmap_shows_coupling_and_marks_chance_on_the_bar(run, variant):
    name = "mismatch" + ("_swapped" if variant.get("swapped") else "") + ("_signed" if variant.get("signed") else "")
    level = "chance_signed" if variant.get("signed") else "chance"
    at = {"k": variant.get("k", 5), "norm": variant.get("norm", 2)}
    values, chance = run[name].sel(at), run[level].sel(at)
    values, chance = (
        [array.isel(prompt=1) for array in (values, chance)]
        if "prompt" in variant else [array.mean("prompt") for array in (values, chance)]
    )  # fmt: skip
    axes, bar = figures.heatmap(run, **variant).axes
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(axes.images[0].get_array()[off], 1 - values.values[off])
    assert axes.images[0].get_array().mask.diagonal().all()
    (marked,) = [line.get_ydata()[0] for line in bar.lines if line.get_linewidth() == 2.5]
    assert marked == pytest.approx(1 - chance.values[off].mean())


def test_circle_has_a_chord_for_each_pair_above_chance_and_none_below(run, untrained):
    for dataset in (run, untrained):
        share = excess_over_chance(dataset, k=5)
        m, chance = (dataset[name].sel(k=5, norm=2).mean("prompt").values for name in ("mismatch", "chance"))
        directed = 1 - m / chance
        assert np.allclose(share[5, 2], (directed[5, 2] + directed[2, 5]) / 2)
        chords = [patch for patch in figures.circle(dataset).axes[0].patches if isinstance(patch, PathPatch)]
        values = np.sort(share[np.tril_indices(8, -1)])
        assert len(chords) == (values > 0).sum()
        widths, opacities = ([getattr(patch, get)() for patch in chords] for get in ("get_linewidth", "get_alpha"))
        assert (np.diff(widths) > 0).all()  # drawn from the weakest to the strongest
        assert (np.diff(opacities) > 0).all()
    assert len(figures.circle(untrained).axes[0].patches) < len(figures.circle(run).axes[0].patches)


@pytest.mark.parametrize("shape", [(4, 5, 40), (30, 9, 12)])
def test_principal_components_are_those_of_an_svd(shape):
    points = np.random.default_rng(0).normal(size=shape).cumsum(axis=1)
    scores, shares = principal_components(points)
    flat = points.reshape(-1, shape[-1]) - points.reshape(-1, shape[-1]).mean(axis=0)
    left, values, _ = np.linalg.svd(flat, full_matrices=False)
    assert np.allclose(np.abs(scores.reshape(-1, 2)), np.abs(left[:, :2] * values[:2]), atol=1e-8 * values[0])
    assert np.allclose(shares, values[:2] ** 2 / (values**2).sum())


def test_trajectory_draws_a_labeled_path_a_token(run, jacobians):
    _, _, recording = jacobians
    stored = run.residual_stream.isel(detailed_prompt=0).values[: recording.n_tokens]
    assert np.allclose(stored, recording.trajectory.numpy().transpose(1, 0, 2), rtol=1e-6)
    axes = figures.trajectory(run, tokens=(1, 5)).axes[0]
    paths, _ = principal_components(stored[1:5])
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 9 and line.get_linestyle() == "-"]
    assert np.allclose(np.array(lines), paths)
    texts = {text.get_text() for text in axes.texts}
    assert texts <= {printable(str(text), blank="·") for text in run.token_text.values[0][1:5]}
    assert len(texts) >= 3


def test_spectrum_fits_the_reciprocals(run):
    values = run.singular_values.mean("prompt").values
    left, right = figures.spectrum(run, ranks=2).axes[:2]
    assert np.allclose(left.lines[1].get_ydata(), values[:, 1])
    points = next(line for line in right.lines if line.get_marker() == "o")
    assert np.allclose(points.get_ydata(), 1 / values[:, 0])
    places = np.arange(8)
    slope, intercept, share = straightness(places, 1 / values[:, 0])
    expected = np.polyfit(places, 1 / values[:, 0], 1)
    residuals = 1 / values[:, 0] - np.polyval(expected, places)
    assert np.allclose((slope, intercept), expected)
    assert share == pytest.approx(
        1 - (residuals**2).sum() / ((1 / values[:, 0] - (1 / values[:, 0]).mean()) ** 2).sum()
    )


def test_linearity_draws_medians_and_the_untrained_model_dashed(run, untrained):
    upper, _ = figures.linearity([run, untrained]).axes
    trained, baseline = upper.lines[:2]
    held = run.line_shape_score.notnull().sum("prompt").values >= 2
    assert np.allclose(trained.get_ydata(), np.nanmedian(run.line_shape_score.values[:, held], axis=0))
    assert (trained.get_linestyle(), baseline.get_linestyle()) == ("-", "--")
    assert trained.get_color() == PALETTE[0]
    axes = figures.linearity(run, prompt=2).axes[1]
    assert "·<" in [label.get_text() for label in axes.get_xticklabels()]


def test_angles_are_those_of_the_subspaces(run, jacobians):
    _, factors, _ = jacobians
    table = subspace_angle(run, "left", k=5, prompt=0)
    between = subspace_angles(factors[1][0][:, :5], factors[4][0][:, :5])
    assert table[1, 4] == pytest.approx(np.degrees(np.arccos(np.sqrt((np.cos(between) ** 2).mean()))), abs=0.05)
    figure = figures.angles(run, k=5)
    bar = figure.axes[-1]
    (marked,) = [line.get_ydata()[0] for line in bar.lines if line.get_linewidth() == 2.5]
    assert marked == pytest.approx(np.degrees(np.arccos(np.sqrt(5 / 128))))


def test_a_32_block_grid_at_k_50(deep_run):
    image = figures.grid(deep_run, blocks=(0, 32)).axes[0].images[0].get_array()
    assert image.shape == (32 * 54 - 4, 32 * 54 - 4)
    assert np.isfinite(image[:50, :50]).all()


def test_texts_that_would_break_a_picture_stay_text(run, tmp_path):
    bad = run.copy()
    bad.attrs["model"] = "org/$\\frac{1}$<script>\x00&\n"
    bad["token_text"] = bad.token_text.copy(data=np.full(bad.token_text.shape, "<$&\x07\n"))
    for kind, arguments in (("trajectory", {}), ("linearity", {"prompt": 0}), ("heatmap", {})):
        path = figures.save(getattr(figures, kind)([bad, bad], **arguments), tmp_path / "bad.svg")
        words = "".join(ElementTree.parse(path).getroot().itertext())
        assert "$\\frac{1}$<script>\\x00&" in words
