"""The report's spectrum as a specification; test_browser draws it."""

import numpy as np
import pytest
from scipy.stats import linregress

from coupling.figures.page.contents import MEAN
from coupling.figures.page.spectrum import spectrum_chart


def test_rows_contain_singular_values_and_their_fits(run):
    rows = spectrum_chart(run, [MEAN, 1], ranks=2).specification()["datasets"]["rows"]
    assert [(row["t"], row["rank"]) for row in rows] == [(MEAN, 1), (MEAN, 2), (1, 1), (1, 2)]
    mean, single = run.singular_values.mean("prompt").values, run.singular_values.sel(prompt=1).values
    assert np.allclose(rows[1]["s"], mean[:, 1], rtol=1e-3)
    assert np.allclose(rows[2]["s"], single[:, 0], rtol=1e-3)
    assert rows[1]["r2"] == pytest.approx(linregress(range(8), 1 / mean[:, 1]).rvalue ** 2, abs=1e-3)


def test_two_blocks_have_no_line(run):
    rows = spectrum_chart(run.isel(block=[0, 1]), [0]).specification()["datasets"]["rows"]
    assert {row["r2"] for row in rows} == {None}
