"""The tables of the study of real models, against the runs that they are made of."""

import numpy as np
import pandas as pd
import pytest

import coupling
from coupling.analyses.studies.real_models.results import (
    DISTANCES,
    MEASURES,
    distance_table,
    measures_table,
    write_results,
)
from coupling.choices import CALIBRATED


@pytest.fixture(scope="module")
def runs(measured):
    return {("a", "trained", "depth"): measured.assign_coords(k=[3, 10])}


def test_one_row_per_measure(runs, measured):
    table = measures_table(runs)
    assert len(table) == 2 * (2 + len(CALIBRATED))
    row = table.query("k == 10 and measure == 'coupling p=1'").iloc[0]
    assert row["value"] == pytest.approx(coupling.score(measured, 3, 1))
    assert row["chance"] == pytest.approx(coupling.chance_score(measured, 3, 1))
    row = table.query("k == 10 and measure == 'diagonal share'").iloc[0]
    assert row["value"] == pytest.approx(coupling.calibrated_score(measured, "diagonal_share", 3).value)


def test_one_row_per_distance(runs, measured):
    table = distance_table(runs).set_index("distance")
    assert table["pairs"].to_dict() == {1: 4, 2: 2}
    m = measured.mismatch.sel(k=3, norm=2)
    by_hand = 1 - np.mean([m.sel(block=0, other_block=2), m.sel(block=2, other_block=0)])
    assert table.loc[2, "coupling"] == pytest.approx(by_hand)
    assert distance_table({("a", "trained", "self"): measured}).empty


def test_tables_are_written(runs, tmp_path):
    assert [path.name for path in write_results(runs, tmp_path)] == [MEASURES, DISTANCES]
    assert len(pd.read_csv(tmp_path / DISTANCES)) == 2
