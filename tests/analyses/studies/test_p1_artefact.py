"""The sweeps of K and of the width."""

import pandas as pd
import pytest

import coupling
from coupling.analyses.correlation.small_models import family_table
from coupling.analyses.studies.p1_artefact import BY_K, BY_WIDTH, KS, WIDTH_COLUMNS, sweep_k, sweep_width
from tests.helpers import ROOT

FOLDER = ROOT / "analyses" / "studies" / "results"


def test_the_sweep_of_k_is_of_the_run():
    table = sweep_k(limit=2, ks=(2, 5))
    run = coupling.analyze(k=(2, 5), limit=2)
    row = table.query("weights == 'trained' and k == 5").iloc[0]
    assert row["coupling"] == pytest.approx(coupling.score(run, 5, 1))
    assert row["chance"] == pytest.approx(coupling.chance_score(run, 5, 1))
    assert row["flat"] == pytest.approx(1 - 5**-0.5)
    assert len(table) == 4


def test_widths_are_compared_in_complete_groups():
    rows = [
        {"depth": 2, "steps": 10, "data_share": 1.0, "width": width} | dict.fromkeys(WIDTH_COLUMNS, width / 100)
        for width in (32, 64)
    ]
    rows.append(rows[0] | {"depth": 4} | dict.fromkeys(WIDTH_COLUMNS, 9.0))  # it has no partner of width 64
    table = sweep_width(pd.DataFrame(rows))
    assert table["width"].tolist() == [32, 64]
    assert table["groups"].tolist() == [1, 1]
    assert table[WIDTH_COLUMNS[0]].tolist() == [0.32, 0.64]


def test_the_committed_tables():
    by_width = pd.read_csv(FOLDER / BY_WIDTH)
    again = sweep_width(family_table().frame)
    assert by_width.to_numpy() == pytest.approx(again.to_numpy(), abs=1e-6)
    assert pd.read_csv(FOLDER / BY_K)["k"].tolist() == [*KS, *KS]
