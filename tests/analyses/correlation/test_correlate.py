"""From runs and scores to a result: what is counted, what is refused, and that a seed gives the same numbers."""

import json
from functools import partial

import pytest

from coupling.analyses.correlation import correlate as module
from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.published import published_table
from coupling.choices import CALIBRATED
from coupling.errors import CouplingError

# the bootstrap is tested in test_association.py; here a few resamples are enough
correlate_runs = partial(module.correlate_runs, resamples=99)


def test_runs_and_scores(six):
    folders, scores = six
    result = correlate_runs(folders, scores)
    assert result["measure"] == "excess K=3 p=2"
    by_name = {one["benchmark"]: one for one in result["results"]}
    assert set(by_name) == {"mmlu", "noise"}
    (skipped,) = result["skipped"]
    assert skipped["benchmark"] == "same"
    assert "same is the same for all 6 models (1.5)" in skipped["reason"]
    first = by_name["mmlu"]["predictors"][0]
    assert first["r2"] == pytest.approx(1, abs=1e-6)
    names = [row["name"] for row in by_name["mmlu"]["predictors"]]
    assert names == ["excess K=3 p=2", "parameters", "log parameters"]
    absent = {row["predictor"]: row["reason"] for row in by_name["mmlu"]["absent"]}
    assert "depth is the same for all 6 models" in absent["depth"]
    assert "width is the same for all 6 models" in absent["width"]
    assert first["p_holm"] == pytest.approx(2 * first["pearson_p"])
    measures = [row for row in result["measures"] if row["benchmark"] == "mmlu"]
    assert len(measures) == 39 + 2 * 2 * len(CALIBRATED)
    assert measures[0]["r2"] == pytest.approx(1, abs=1e-6)
    omitted = {row["measure"] for row in measures if "omitted" in row}
    chances = {f"chance K={k} p={norm}" for k in (2, 3) for norm in (1, 2)}
    pairs = {f"{measure.label}{z} K={k}" for measure in CALIBRATED for z in ("", " z") for k in (2, 3)}
    same = {"line-shape score", "expodistance", "residual growth"} | chances | pairs
    assert omitted == same  # in all these runs
    assert correlate_runs(folders, scores) == result
    assert result["matches"][0]["scores"] == "Model_0"
    assert result["matches"][0]["how"] == "folded"
    json.dumps(result, allow_nan=False)


def test_too_few_and_constant(six, make_run):
    folders, scores = six
    with pytest.raises(CouplingError, match=r"only 2 models have both .* needs at least 3") as refusal:
        correlate_runs([*folders[:2], make_run("model-2-chat", 0.3)], scores)
    assert "not matched: model-2-chat" in str(refusal.value)
    assert "similar names: " in str(refusal.value)
    assert "rows of the scores without a run: " in str(refusal.value)
    with pytest.raises(CouplingError, match="same is the same for all 6 models"):
        correlate_runs(folders, scores, benchmarks=["same"])
    alike = [make_run(f"model-{index}", 0.8) for index in range(4)]
    with pytest.raises(CouplingError, match=r"excess K=3 p=2 is the same for all 4 models .*nothing correlates"):
        correlate_runs(alike, scores)


def test_names_that_do_not_exist(six):
    folders, scores = six
    with pytest.raises(CouplingError, match="there is no benchmark 'gsm8k'; there are mmlu, noise, same"):
        correlate_runs(folders, scores, benchmarks=["gsm8k"])
    with pytest.raises(CouplingError, match="there is no measure 'K=3'; there are excess K=2 p=1, "):
        correlate_runs(folders, scores, measure="K=3")
    with pytest.raises(CouplingError, match=r"no run has scores in the bundled .*no scores for this model.*`aliases`"):
        correlate_runs(folders, "leaderboard")


def test_the_same_seed_gives_the_same_numbers():
    first, again, other = (correlate(published_table(), seed=seed, resamples=199) for seed in (0, 0, 1))
    assert first == again
    assert first["results"] != other["results"]


def test_progress_names_each_benchmark(six):
    folders, scores = six
    names = []
    correlate_runs(folders, scores, progress=names.append)
    assert names == ["mmlu", "noise", "same"]


def test_models_of_one_family_are_a_warning():
    table = published_table()
    table.frame["family"] = ["a"] * 20 + ["b"] * 8
    assert correlate(table, resamples=9)["warnings"] == ["20 of 28 models are of one family (a)"]
