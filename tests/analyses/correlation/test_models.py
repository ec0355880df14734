"""One row per model: runs that are read together, and their join with benchmark scores."""

import numpy as np
import pytest

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.analyses.correlation.models import benchmark_column, join_table, read_runs
from coupling.errors import CouplingError


def scores(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    return read_scores(str(tmp_path / "s.csv"))


def test_runs_that_cannot_be_compared(make_run):
    folders = [make_run("a", 0.8), make_run("b", 0.9, kind="self")]
    with pytest.raises(CouplingError, match="different kinds"):
        read_runs(folders)
    with pytest.raises(CouplingError, match="measured random weights"):
        read_runs([make_run("a", 0.8, weights="random")])
    with pytest.raises(CouplingError, match="no runs to read"):
        read_runs([])
    runs = read_runs([make_run("a", 0.8), make_run("b", 0.9, prompts_hash="1", width="")])
    assert runs.notes == [
        "the runs were not all measured with the same prompts",
        "the width of 1 of 2 runs is not recorded",
    ]


def test_the_joined_table(make_run, tmp_path):
    table = join_table(
        [make_run("a", 0.8, width=""), make_run("b-7b", 0.9), make_run("c", 0.7)],
        scores(tmp_path, "model,mmlu,width,family\nB-7b,2,16,\na,1,64,F\nd,3,1,\n"),
    )
    assert table.frame.index.to_list() == ["a", "B-7b"]
    assert table.frame["mmlu"].to_list() == [1, 2]
    assert table.frame["width"].to_list() == [64, 32]  # what a run records counts before the scores
    assert table.frame["family"].to_list() == ["F", "b"]
    assert table.primary == "excess K=3 p=2"
    assert {name.split(" (")[0]: reason for name, reason in table.left_out} == {
        "c": "no scores for this model",
        "d": "no run of this model",
    }
    assert [(match["model"], match["scores"], match["how"]) for match in table.matches if match["how"] != "exact"] == [
        ("b-7b", "B-7b", "folded")
    ]
    assert [run["model"] for run in table.runs] == ["a", "b-7b", "c"]


def test_sizes_that_are_not_known(make_run, tmp_path):
    table = join_table([make_run("a", 0.8, width="")], scores(tmp_path, "model,mmlu\na,1\n"))
    assert np.isnan(table.frame["width"].item())
    assert "the width of 1 of 1 run is not recorded" in table.notes


def test_a_benchmark_with_the_name_of_a_measure_or_a_size():
    assert benchmark_column("mmlu", ["expodistance"]) == "mmlu"
    assert benchmark_column("expodistance", ["expodistance"]) == "expodistance (benchmark)"
    assert benchmark_column("depth", []) == "depth (benchmark)"
