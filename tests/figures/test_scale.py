"""The range of a color scale."""

import numpy as np

from coupling.figures.scale import limits


def test_the_scale_is_that_of_all_values_and_levels():
    assert limits([np.array([[1.0, np.nan], [2.0, 3.0]]), np.array([0.5])], [0.0, 4.0]) == (0.0, 4.0, "neither")


def test_few_values_far_away_are_cut_at_their_end():
    values = np.linspace(0, 1, 1000)
    assert limits([np.append(values, 40.0)])[2] == "max"
    assert limits([np.append(values, -40.0)])[2] == "min"
    low, high, extend = limits([np.append(values, [-40.0, 40.0])], [-1.0])
    assert (low, extend) == (-1.0, "both")
    assert 0.9 < high < 1


def test_nothing_to_draw_has_a_scale():
    assert limits([np.full(3, np.nan)], [0.1]) == (0.1, 0.1, "neither")
    assert limits([np.full(3, np.nan)]) == (0.0, 1.0, "neither")
