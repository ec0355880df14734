"""Numbers as the page stores them; test_browser reads them with the page's own script."""

import numpy as np
import pytest

from coupling.figures.page.packing import BITS, packed, short_numbers, unpacked


@pytest.mark.parametrize("bits", BITS)
def test_numbers_are_exact_to_half_a_step(bits):
    values = np.random.default_rng(0).normal(size=(7, 5))
    values[2, 3], values[0, 0] = np.nan, np.inf
    found = unpacked(packed(values, bits)).reshape(7, 5)
    finite = np.isfinite(values)
    step = np.ptp(values[finite]) / (2**bits - 2)
    assert np.abs(found - values)[finite].max() <= 0.5001 * step
    assert np.isnan(found[~finite]).all()


def test_one_value_and_none():
    assert unpacked(packed(np.full(3, 0.25))).tolist() == [0.25] * 3
    assert np.isnan(unpacked(packed(np.full(2, np.nan)))).all()
    assert len(unpacked(packed(np.array([])))) == 0


def test_numbers_are_short_and_missing_ones_null():
    assert short_numbers(np.array([123456.0, 0.00123456, np.nan])) == [123500.0, 0.001235, None]
