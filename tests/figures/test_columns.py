"""The pictures of tables: dynamics, scatter and rl, from tables written by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress

from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.columns import read_table, read_tables

DYNAMICS = """model,step,prompt,score,chance
a,0,0,0.02,0.019
a,0,1,0.03,0.019
a,16,0,0.06,0.020
a,16,1,0.08,0.020
a,256,0,0.10,0.020
a,256,1,0.20,0.020
b,0,0,0.03,0.019
b,256,0,0.09,0.018
"""
RL = """run,seed,step,reward,ess,kl,score
p3o,0,0,0.1,1.0,0.0,0.05
p3o,1,0,0.3,0.8,0.0,0.05
p3o,0,1,0.5,0.9,0.01,
p3o,1,1,0.7,0.9,0.03,
grpo,0,0,0.1,1.0,0.0,0.05
grpo,0,1,0.2,1.0,0.0,0.06
"""


def table(text, tmp_path, kind):
    path = tmp_path / f"{kind}.csv"
    path.write_text(text)
    return read_table(path, kind)


def test_dynamics_draws_means_a_band_and_chance(tmp_path):
    figure = figures.dynamics(table(DYNAMICS, tmp_path, "dynamics"))
    (axes,) = figure.axes
    line, chance, other = axes.lines[:3]
    assert np.allclose(line.get_xdata(), [0, 16, 256])
    assert np.allclose(line.get_ydata(), [0.025, 0.07, 0.15])
    assert chance.get_linestyle() == "--"
    assert np.allclose(chance.get_ydata(), [0.019, 0.02, 0.02])
    assert np.allclose(other.get_ydata(), [0.03, 0.09])
    band = axes.collections[0].get_datalim(axes.transData)
    assert band.y1 == pytest.approx(0.19)  # the ninth tenth of 0.1 and 0.2
    assert axes.get_xscale() == "symlog"  # step 0 has its place
    assert axes.get_xticks()[0] == 0


def test_scatter_fits_the_published_points(tmp_path):
    rng = np.random.default_rng(0)
    score = rng.normal(0.9, 0.01, 28)
    frame = pd.DataFrame({
        "model": [f"organization/model-{index}-with-a-name" for index in range(28)],
        "score": score, "benchmark": 50 + 900 * (score - 0.9) + rng.normal(0, 4, 28),
    })  # fmt: skip
    figure = figures.scatter(frame)
    fit = linregress(frame.score, frame.benchmark)
    words = figure.legends[0].get_texts()[0].get_text()
    assert f"R² = {fit.rvalue**2:.3f}" in words
    assert f"p = {fit.pvalue:.2g}" in words
    axes = figure.axes[0]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) >= 24  # a name is left out only where no place is free
    inside, points = axes.get_window_extent(), axes.transData.transform(frame[["score", "benchmark"]])
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1 + 1
        assert not any(box.contains(*point) for point in points)
    assert all(text.get_text().startswith("model-") for text in axes.texts)
    with_gap = pd.concat([frame, pd.DataFrame({"model": ["unscored"], "score": [0.9], "benchmark": [np.nan]})])
    assert "n = 28" in figures.scatter(with_gap).legends[0].get_texts()[0].get_text()


def test_scatter_keeps_groups_apart_and_fits_the_first(tmp_path):
    frame = pd.DataFrame({"model": list("abcde"), "score": [1, 2, 3, 1, 2], "benchmark": [1, 2, 3.5, 9, 9],
                          "group": ["published"] * 3 + ["measured"] * 2})  # fmt: skip
    figure = figures.scatter(frame)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[:2] == ["published", "measured"]
    assert "of published" in words[2]
    assert "n = 3" in words[2]


def test_rl_stacks_what_the_table_holds_on_one_axis(tmp_path):
    frame = table(RL, tmp_path, "rl")
    figure = figures.rl(frame)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == [
        "mean reward",
        "effective",
        "KL, nats",
        "coupling",
    ]
    reward = figure.axes[0]
    assert np.allclose(reward.lines[0].get_ydata(), [0.2, 0.6])
    assert len(reward.collections) == 1  # a band over the seeds of the one run that has several
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[3].lines[0].get_xdata().tolist() == [0]  # coupling is measured at fewer steps
    assert len(figures.rl(frame.drop(columns=["ess", "kl"])).axes) == 2
    *_, added = figures.rl(frame.assign(mismatch_to_initial=[0.5] * len(frame))).axes
    assert added.get_ylabel() == "mismatch\nto initial"
    assert set(added.lines[0].get_ydata()) == {0.5}


@pytest.mark.parametrize(("kind", "text", "said"), [
    ("rl", "step,ess\n1,2\n", "lacks the column reward"),
    ("dynamics", "model,step,score\na,zero,1\n", "column step of the table holds 'zero'"),
    ("scatter", "model,score,benchmark\n", "holds no rows"),
    ("scatter", "model,score,benchmark\na,1,\n", "both a score and a benchmark"),
    ("rl", "step,reward\n0,\n", "holds no numbers"),
    ("dynamics", "model,step,score\na,1,\n", "both a step and a score"),
    ("dynamics", "model,step,score\na,-1,2\n", "is below 0"),
    ("rl", "", "cannot be read as a table"),
])  # fmt: skip
def test_tables_that_cannot_be_drawn(kind, text, said, tmp_path):
    with pytest.raises(CouplingError, match=said):
        getattr(figures, kind)(table(text, tmp_path, kind))


def test_many_names_leave_room_for_the_picture():
    rows = [{"model": f"model-{index}", "step": step, "score": index + step, "chance": 0.0}
            for index in range(60) for step in (1000, 1001)]  # fmt: skip
    figure = figures.dynamics(pd.DataFrame(rows))
    figure.draw_without_rendering()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[-1] == "and 32 more"
    assert figure.axes[0].get_window_extent().height > 300
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1000", "1001"]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in figure.axes[0].lines[:56:2]}
    assert len(looks) == 28  # 7 colors in 4 styles


def test_headers_with_blanks_and_names_that_begin_with_an_underscore(tmp_path):
    frame = table("step, reward , run\n0, 1, _first\n1, 2, _first\n", tmp_path, "rl")
    assert figures.rl(frame).legends[0].get_texts()[0].get_text() == " _first"


def test_several_tables_of_rl_are_one_picture(tmp_path):
    for folder, run in (("first", "p3o"), ("second", "grpo"), ("third", "p3o")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table.csv").write_text(f"run,step,reward\n{run},1,0.1\n{run},2,0.2\n")
    (tmp_path / "plain.csv").write_text("step,reward\n1,0.5\n")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert read_tables([first, second / "table.csv"], "rl").run.tolist() == ["p3o"] * 2 + ["grpo"] * 2
    assert set(read_tables([first, third], "rl").run) == {"p3o, first", "p3o, third"}
    assert set(read_tables([second, tmp_path / "plain.csv"], "rl").run) == {"grpo", tmp_path.name}
    assert len(figures.rl(read_tables([first, third], "rl")).axes[0].lines) == 2
