"""The axis of training steps."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from coupling.figures.steps import scale_steps, short_step, step_ticks


@pytest.mark.parametrize(
    ("steps", "ticks"),
    [
        ([0, 1, 10, 100, 1000], [0, 1, 10, 100, 1000]),
        ([16, 256], [16, 64, 256]),
        ([1000, 1001], [1000, 1001]),
        ([0, 0], [0]),
    ],
)
def test_ticks(steps, ticks):
    assert step_ticks(pd.Series(steps)) == ticks


def test_step_0_has_its_place_on_a_logarithmic_axis():
    axes = Figure().subplots()
    steps = pd.Series([0, 2, 20, 200])
    axes.plot(steps, steps)
    scale_steps(axes, steps)
    places = axes.transData.transform([(step, 0) for step in steps])[:, 0]
    gaps = places[1:] - places[:-1]
    assert gaps[1] == pytest.approx(gaps[2])
    assert gaps[0] > 0.2 * gaps[1]


def test_short():
    assert [short_step(step) for step in (0, 5000, 143_000, 2e6, 3e9)] == ["0", "5000", "143k", "2M", "3B"]
