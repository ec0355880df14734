"""The singular values and lines on the page."""

import numpy as np
import pytest
from scipy.stats import linregress

from coupling.figures.page.section import MEAN
from coupling.figures.page.spectrum import SECTION
from tests.figures.page.helpers import material


def test_singular_values_and_the_lines_through_their_reciprocals(run):
    (data,) = SECTION.data(material(run, prompts=2))
    mean, single = run.singular_values.mean("prompt").values, run.singular_values.sel(prompt=1).values
    assert data[str(MEAN)]["blocks"] == list(range(8))
    second = data[str(MEAN)]["ranks"][1]
    assert np.allclose(second["s"], mean[:, 1], rtol=1e-3)
    assert np.allclose(data["1"]["ranks"][0]["s"], single[:, 0], rtol=1e-3)
    fit = linregress(range(8), 1 / mean[:, 1])
    assert second["r2"] == pytest.approx(fit.rvalue**2, rel=1e-2)
    assert (second["slope"], second["intercept"]) == pytest.approx((fit.slope, fit.intercept), rel=1e-3)


def test_two_blocks_have_no_line(run):
    (data,) = SECTION.data(material(run.isel(block=[0, 1])))
    assert {rank["r2"] for rank in data["0"]["ranks"]} == {None}
    zero = run.copy()
    zero["singular_values"] = run.singular_values.where(run.block > 2, 0)
    assert SECTION.data(material(zero))[0]["0"]["ranks"][0]["r2"] is not None  # of the blocks that are not zero
