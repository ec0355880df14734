"""The picture dynamics, from tables written by hand."""

import io

import numpy as np
import pandas as pd
import pytest

from coupling import figures
from coupling.errors import CouplingError

TABLE = """model,step,prompt,score,chance
a,0,0,0.02,0.019
a,0,1,0.03,0.019
a,16,0,0.06,0.020
a,16,1,0.08,0.020
a,256,0,0.10,0.020
a,256,1,0.20,0.020
b,0,0,0.03,0.019
b,256,0,0.09,0.018
"""


def test_dynamics_draws_means_a_band_and_chance():
    figure = figures.dynamics(pd.read_csv(io.StringIO(TABLE)))
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,step,score\na,1,\n", "contains both a step and a score"),
        ("model,step,score\na,-1,2\n", "step -1 in the dynamics' table is below 0"),
    ],
)
def test_tables_that_cannot_be_drawn(text, message):
    with pytest.raises(CouplingError, match=message):
        figures.dynamics(pd.read_csv(io.StringIO(text)))


def test_many_names_leave_room_for_the_picture():
    rows = [
        {"model": f"model-{index}", "step": step, "score": index + step, "chance": 0.0}
        for index in range(60)
        for step in (1000, 1001)
    ]
    figure = figures.dynamics(pd.DataFrame(rows))
    figure.draw_without_rendering()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[-1] == "and 32 more"
    assert figure.axes[0].get_window_extent().height > 300
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1000", "1001"]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in figure.axes[0].lines[:56:2]}
    assert len(looks) == 28  # 7 colors in 4 styles


def test_steps_are_short_numbers():
    steps = [0, 5000, 143_000, 2_000_000, 3 * 10**9]
    table = pd.DataFrame({"model": "a", "step": steps, "score": 0.1})
    (axes,) = figures.dynamics(table).axes
    assert [axes.xaxis.get_major_formatter()(step) for step in steps] == ["0", "5000", "143k", "2M", "3B"]


FULL = """model,seed,step,k,norm,score,chance,excess,line_shape_score,expodistance,residual_growth
a,0,0,5,2,0.02,0.02,0.0,2.0,400,1.1
a,1,0,5,2,0.04,0.02,0.1,2.1,300,1.2
a,0,10,5,2,0.2,0.02,0.3,1.5,1,4
a,1,10,5,2,0.3,0.02,0.4,1.4,2,5
a,0,0,10,1,0.7,0.6,0.1,2.0,400,1.1
a,0,0,10,2,0.5,0.4,0.2,2.0,400,1.1
"""


def test_every_measure_has_a_panel_and_seeds_give_the_band():
    figure = figures.dynamics(pd.read_csv(io.StringIO(FULL)), k=5)
    names = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes]
    assert names[:2] == ["excess K = 5, p = 2", "coupling 1 − m K = 5, p = 2"]
    assert names[2:] == ["line-shape score", "expodistance", "growth of the residual norm"]
    _, score, _, distance, _ = figure.axes
    assert np.allclose(score.lines[0].get_ydata(), [0.03, 0.25])
    band = score.collections[0].get_datalim(score.transData)
    assert (band.y0, band.y1) == pytest.approx((0.02, 0.3))  # from the lowest to the highest seed
    assert distance.get_yscale() == "log"
    assert score.get_yscale() == "linear"
    assert figure.axes[-1].get_xlabel() == "training step"


def test_one_k_and_one_norm_are_drawn():
    table = pd.read_csv(io.StringIO(FULL))
    assert np.allclose(figures.dynamics(table).axes[1].lines[0].get_ydata(), [0.5])  # the largest K, and p = 2
    assert np.allclose(figures.dynamics(table, norm=1).axes[1].lines[0].get_ydata(), [0.7])
    with pytest.raises(CouplingError, match="no rows with K = 7, but with 5, 10"):
        figures.dynamics(table, k=7)
    with pytest.raises(CouplingError, match="no column k, so `k` cannot choose"):
        figures.dynamics(pd.read_csv(io.StringIO(TABLE)), k=5)
