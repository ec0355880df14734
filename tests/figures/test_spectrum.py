"""The picture spectrum: singular values, and the lines through their reciprocals."""

import numpy as np
import pytest

from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.spectrum import singular_values_by_block, straightness


def test_spectrum_fits_the_reciprocals(run):
    values = run.singular_values.mean("prompt").values
    left, right = figures.spectrum(run, ranks=2).axes[:2]
    assert np.allclose(left.lines[1].get_ydata(), values[:, 1])
    points = next(line for line in right.lines if line.get_marker() == "o")
    assert np.allclose(points.get_ydata(), 1 / values[:, 0])
    depth = np.arange(8)
    slope, intercept, r_squared = straightness(depth, 1 / values[:, 0])
    expected = np.polyfit(depth, 1 / values[:, 0], 1)
    residuals = 1 / values[:, 0] - np.polyval(expected, depth)
    assert np.allclose((slope, intercept), expected)
    assert r_squared == pytest.approx(
        1 - (residuals**2).sum() / ((1 / values[:, 0] - (1 / values[:, 0]).mean()) ** 2).sum()
    )


@pytest.mark.parametrize("ranks", [0, -1])
def test_at_least_one_singular_value_is_drawn(run, ranks):
    with pytest.raises(CouplingError, match=f"^`ranks` is {ranks}, but must be at least 1$"):
        figures.spectrum(run, ranks=ranks)


def test_a_range_of_blocks_is_drawn_and_fitted(run):
    left, right = figures.spectrum(run, ranks=1, blocks=(2, 6)).axes[:2]
    values = 1 / run.singular_values.mean("prompt").values[2:6, 0]
    assert left.lines[0].get_xdata().tolist() == [2, 3, 4, 5]
    assert np.allclose(right.lines[0].get_ydata(), np.polyval(np.polyfit(range(2, 6), values, 1), range(2, 6)))
    with pytest.raises(CouplingError, match=r"`blocks` is \(9, 12\), but the run's blocks are 0 to 7"):
        figures.spectrum(run, blocks=(9, 12))


def test_pairs_that_begin_with_one_block_are_drawn_once(pairs_run):
    assert len(figures.spectrum(pairs_run).axes[0].lines[0].get_xdata()) == 1


def test_long_prompts_weigh_no_more_than_short_ones(all_tokens_run):
    values, blocks = singular_values_by_block(all_tokens_run)
    assert np.allclose(values, all_tokens_run.singular_values.mean("token").mean("prompt").values)
    assert blocks == list(range(8))
