"""Predictions of held-out families, by hand and where there is nothing to predict."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.correlation.small_models import family_table
from coupling.analyses.studies.family_prediction import BENCHMARKS, KNOWN, TABLE, held_out_r2, prediction_table
from tests.helpers import ROOT


def test_what_a_line_predicts_is_predicted():
    x = np.arange(6.0)
    families = ["a", "a", "b", "b", "c", "c"]
    assert held_out_r2(x[:, None], 3 * x + 1, families) == pytest.approx(1)
    assert held_out_r2(np.empty((6, 0)), 3 * x + 1, families) == pytest.approx(0)


def test_by_hand():
    """Two families; each is predicted by the line, or the mean, of the other."""
    x, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 3.0])
    # of b by the line y = x: errors 1, 2; of a by y = 1 + 2x: errors -1, -2; the means are 2 for a and 0.5 for b
    expected = 1 - (1 + 4 + 1 + 4) / (4 + 1 + 0.25 + 6.25)
    assert held_out_r2(x[:, None], y, ["a", "a", "b", "b"]) == pytest.approx(expected)


def test_noise_predicts_nothing():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 60))
    assert held_out_r2(x[:, None], y, [str(index // 6) for index in range(60)]) < 0.05


def test_the_committed_table_is_computed_from_the_bundled_one():
    committed = pd.read_csv(ROOT / "analyses" / "studies" / "results" / TABLE)
    again = prediction_table(family_table())
    assert again["measure"].tolist() == committed["measure"].tolist()
    assert set(again["benchmark"]) == set(BENCHMARKS)
    for column in KNOWN:
        assert again[column].to_numpy() == pytest.approx(committed[column].to_numpy(), abs=1e-6)
