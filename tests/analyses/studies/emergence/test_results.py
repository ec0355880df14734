"""The committed results of the study: the table is complete, and the points are those that it gives."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.studies.emergence.results import MEASURES, POINTS, TABLE, K, points_of
from coupling.analyses.studies.emergence.study import PROMPTS
from coupling.analyses.studies.emergence.training import SEEDS, STEPS, WEIGHT_DECAYS
from tests.helpers import ROOT

FOLDER = ROOT / "analyses" / "studies" / "results"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(FOLDER / TABLE)


def test_every_checkpoint_is_in_the_table(table):
    assert len(table) == len(WEIGHT_DECAYS) * len(SEEDS) * len(STEPS) * PROMPTS * 2
    assert sorted(set(table["step"])) == list(STEPS)
    assert set(table["k"]) == {K}
    assert np.isfinite(table[[*MEASURES, "chance", "loss"]]).all().all()


def test_excess_is_that_of_score_and_chance(table):
    m, chance = 1 - table["score"], 1 - table["chance"]
    assert np.allclose(table["excess"], (chance - m) / chance, atol=2e-5)


def test_the_points_are_those_of_the_table(table):
    committed = pd.read_csv(FOLDER / POINTS)
    pd.testing.assert_frame_equal(points_of(table), committed, rtol=1e-4, check_dtype=False)
