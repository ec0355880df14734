"""The statistics of one benchmark: which models count, what controls for size, and what leaving out families does."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import coupling
from coupling.analyses.correlation import correlate as module
from coupling.analyses.correlation.benchmark_statistics import benchmark_statistics, measure_statistics
from coupling.analyses.correlation.small_models import family_table

# the bootstrap is tested in test_association.py; here a few resamples are enough
correlate_runs = partial(module.correlate_runs, resamples=99)


def test_the_partial_correlation_given_size(six):
    import pingouin

    folders, scores = six
    result = correlate_runs(folders, scores, benchmarks=["noise"])
    row = next(row for row in result["measures"] if row["measure"] == "coupling K=2 p=1")
    points = pd.DataFrame(result["points"])
    frame = pd.DataFrame(
        {
            "noise": [point["noise"] for point in points["benchmarks"]],
            "log": np.log(points["parameters"]),
            "x": [coupling.score(coupling.open_run(folder), 2, 1) for folder in folders],
        }
    )
    judge = pingouin.partial_corr(frame, "x", "noise", "log")
    assert row["partial_given_log_parameters"] == pytest.approx(judge["r"].iloc[0], abs=1e-5)


def test_scores_that_are_missing_are_dropped_and_counted(six):
    folders, scores = six
    frame = pd.read_csv(scores)
    frame.loc[[1, 4], "mmlu"] = np.nan
    frame.to_csv(scores, index=False)
    result = correlate_runs(folders, scores, benchmarks=["mmlu"])
    (one,) = result["results"]
    assert one["n"] == 4
    assert one["dropped"] == ["Model_1", "Model_4"]
    assert "only 4 models: with fewer than 5" in result["warnings"][0]
    kept = [0, 2, 3, 5]
    x = [result["points"][index]["score"] for index in kept]
    judge = scipy.stats.linregress(x, frame["mmlu"].iloc[kept])
    assert one["predictors"][0]["slope"] == pytest.approx(judge.slope)


def test_a_family_column_and_leaving_families_out(six):
    folders, scores = six
    frame = pd.read_csv(scores).assign(family=list("aabbcc"))
    frame.to_csv(scores, index=False)
    (one,) = correlate_runs(folders, scores, benchmarks=["noise"])["results"]
    assert one["families"] == 3
    assert set(one["leave_one_family_out"]["each"]) == {"a", "b", "c"}
    assert one["between_families"]["n"] == 3


def test_families_from_the_configuration(six):
    folders, scores = six
    result = correlate_runs(folders, scores)
    assert {point["family"] for point in result["points"]} == {"LlamaModel"}
    assert result["warnings"] == ["all models are of one family (LlamaModel), so no family can be left out"]
    assert result["results"][0]["leave_one_family_out"] is None


def test_sizes_that_are_not_known_are_reported_as_absent(make_run, tmp_path):
    folders = [make_run(f"m-{index}", 0.7 + 0.05 * index, width="") for index in range(5)]
    (tmp_path / "s.csv").write_text("model,b\n" + "".join(f"m-{index},{index}\n" for index in range(5)))
    result = correlate_runs(folders, str(tmp_path / "s.csv"))
    assert {"predictor": "width", "reason": "not known for any model"} in result["results"][0]["absent"]
    assert "the width of 5 of 5 runs is not recorded" in result["notes"]


def test_controls_and_groups_of_equal_steps():
    table = family_table()
    found = benchmark_statistics(table, table.primary, "exact match", seed=0, resamples=9)
    assert {"steps", "log steps"} <= {row["name"] for row in found["predictors"]}
    assert found["joint"][1]["predictors"] == [table.primary, "log parameters", "log steps", "log data_share"]
    assert [(row["column"], row["value"], row["n"]) for row in found["within"]] == [
        ("steps", 100, 18),
        ("steps", 300, 18),
    ]
    rows = table.frame[table.frame["steps"] == 300]
    judge = scipy.stats.pearsonr(rows[table.primary], rows["exact match"])
    assert found["within"][1]["pearson"] == pytest.approx(judge.statistic)


def test_measures_are_sorted_and_corrected_for_their_number():
    table = family_table()
    rows = measure_statistics(table, "exact match", seed=0, resamples=9)
    assert len(rows) == len(table.measures)
    assert [row["r2"] for row in rows] == sorted((row["r2"] for row in rows), reverse=True)
    smallest = min(rows, key=lambda row: row["pearson_p"])
    assert smallest["p_holm"] == pytest.approx(len(rows) * smallest["pearson_p"])
