"""The table of a study."""

import numpy as np
import pandas as pd
import pytest

import coupling
from coupling.analyses.sweep.index import COLUMNS, as_json, make_index, plain_measures, write_index
from coupling.analyses.sweep.study_folder import StudyFolder
from tests.tiny_checkpoints import copy_run


def test_one_row_per_task(swept):
    table = pd.read_csv(swept / "index.csv")
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS
    assert table["task"].tolist() == ["trained@step1", "trained@step2", "trained@step3"]
    assert table["model"].tolist() == ["trained"] * 3
    assert table["step"].tolist() == [1, 2, 3]
    assert table["state"].tolist() == ["done", "done", "failed"]
    assert table["error"].fillna("").tolist() == ["", "", "this checkpoint is broken"]
    assert table["attempts"].tolist() == [1, 1, 1]
    run = coupling.open_run(swept / table["folder"][0])
    assert table["score"][0] == pytest.approx(coupling.score(run), abs=1e-12)
    assert table["chance"][0] == pytest.approx(coupling.chance_score(run), abs=1e-12)
    assert table["excess K=2 p=1"].notna().tolist() == [True, True, False]
    assert table["growth"][0] > 0
    assert table["line_shape_score"][0] == pytest.approx(float(run.line_shape_score.median()))
    assert table["expodistance"][0] == pytest.approx(float(run.expodistance.median()))


def test_parquet_and_csv_are_one_table(swept):
    table = make_index(StudyFolder(swept))
    pd.testing.assert_frame_equal(pd.read_parquet(swept / "index.parquet"), table)
    read = pd.read_csv(swept / "index.csv", dtype={"step": "Int64"}, keep_default_na=True)
    numbers = table.select_dtypes("number").columns
    np.testing.assert_allclose(read[numbers].astype(float), table[numbers].astype(float), rtol=1e-12)


def test_csv_alone_without_pyarrow(swept, monkeypatch):
    (swept / "index.parquet").unlink()
    monkeypatch.setattr("coupling.analyses.sweep.index.find_spec", lambda name: None)
    write_index(StudyFolder(swept))
    assert not (swept / "index.parquet").exists()


def test_the_index_follows_the_runs_not_the_records(swept, make_run):
    """Another run in the folder, and records that are gone: the table is made anew from what is there."""
    other = make_run("org/other", 0.5)
    copy_run(other, swept / "runs" / "trained@step1")
    before = make_index(StudyFolder(swept))
    assert before["score"][0] == pytest.approx(coupling.score(coupling.open_run(other)))
    for record in (swept / "tasks").glob("*.json"):
        record.unlink()
    table = make_index(StudyFolder(swept))
    assert table["state"].tolist() == ["done", "done", "waiting"]
    assert table["score"].tolist()[:2] == before["score"].tolist()[:2]


def test_a_damaged_run_does_not_stop_the_table(swept):
    (swept / "runs" / "trained@step1" / "run.nc").write_bytes(b"x")
    table = make_index(StudyFolder(swept))
    assert table["error"][0].startswith("its run cannot be read")
    assert np.isnan(table["score"][0])
    assert table["score"][1] > 0


def test_json_has_none_for_what_is_missing(swept):
    rows = as_json(make_index(StudyFolder(swept)))
    assert rows[2]["score"] is None
    assert rows[0]["step"] == 1


def test_measures_are_plain(measured):
    names = plain_measures(measured)
    assert "excess K=3 p=2" in names
    assert "diagonal share K=3" in names
    assert not [name for name in names if name.endswith(("signed", "swapped"))]
