"""From runs and scores to a result: what is counted, what is dropped, what is refused, and the published numbers."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import coupling
from coupling.analyses import correlate as module
from coupling.analyses import published as published_module
from coupling.analyses.correlation.correlate import correlate, scatter_table
from coupling.analyses.correlation.models import measures_of, published_table, read_runs
from coupling.errors import CouplingError

# the bootstrap is tested in test_statistics.py; here a few resamples will do
correlate_runs = partial(module.correlate_runs, resamples=99)
correlate_published = partial(published_module.correlate_published, resamples=99)


@pytest.fixture(scope="module")
def published():
    return correlate_published()


def test_the_published_numbers(published):
    (one,) = published["results"]
    r2 = {row["name"]: row["r2"] for row in one["predictors"]}
    assert r2["coupling"] == pytest.approx(0.799, abs=0.005)
    for name, expected in (("parameters", 0.648), ("log parameters", 0.774), ("width", 0.669), ("log width", 0.724),
                           ("depth", 0.195)):  # fmt: skip
        assert r2[name] == pytest.approx(expected, abs=0.001), name
    joint = one["joint"][0]
    assert joint["predictors"] == ["coupling", "log parameters"]
    assert joint["r2"] == pytest.approx(0.805, abs=0.001)
    assert [term["p"] for term in joint["terms"]] == pytest.approx([0.06, 0.38], abs=0.01)
    assert one["n"] == 28
    json.dumps(published, allow_nan=False)


def test_families_of_the_published_points(published):
    families = pd.Series({point["model"]: point["family"] for point in published["points"]})
    assert families[["vicuna-7b-v1.5", "Orca-2-7b", "Llama-2-7b-hf"]].unique().tolist() == ["Llama-2"]
    one = published["results"][0]
    assert one["families"] == families.nunique() == 11
    assert one["leave_one_family_out"]["without_lowest"] == "GPT-2"
    assert one["leave_one_model_out"]["groups"] == 28


def test_every_score_of_a_run_is_a_measure(measured):
    measures = measures_of(measured)
    assert measures["coupling K=3 p=1"] == pytest.approx(coupling.score(measured, 3, 1))
    assert measures["chance K=3 p=1"] == pytest.approx(coupling.chance_score(measured, 3, 1))
    score, chance = coupling.score(measured, 2, 2), coupling.chance_score(measured, 2, 2)
    assert measures["excess K=2 p=2"] == pytest.approx((score - chance) / (1 - chance))
    assert measures["coupling K=2 p=2 swapped signed"] == pytest.approx(
        coupling.score(measured, 2, 2, signed=True, swapped=True)
    )
    lss = measured.line_shape_score.values
    assert measures["line-shape score"] == pytest.approx(np.median(lss[np.isfinite(lss)]))
    assert {"expodistance", "residual growth"} <= set(measures)
    assert len(measures) == 2 * 2 * (2 * 4 + 1) + 3


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
    assert len(measures) == 39
    assert measures[0]["r2"] == pytest.approx(1, abs=1e-6)
    omitted = {row["measure"] for row in measures if "omitted" in row}
    chances = {f"chance K={k} p={norm}" for k in (2, 3) for norm in (1, 2)}
    assert omitted == {"line-shape score", "expodistance", "residual growth"} | chances  # the same in all these runs
    assert correlate_runs(folders, scores) == result
    assert any("Model_0 of the scores (by folded)" in note for note in result["notes"])
    json.dumps(result, allow_nan=False)


def test_the_partial_correlation_given_size(six):
    import pingouin

    folders, scores = six
    result = correlate_runs(folders, scores, benchmarks=["noise"])
    row = next(row for row in result["measures"] if row["measure"] == "coupling K=2 p=1")
    points = pd.DataFrame(result["points"])
    frame = pd.DataFrame({
        "noise": [point["noise"] for point in points["benchmarks"]], "log": np.log(points["parameters"]),
        "x": [coupling.score(coupling.open_run(folder), 2, 1) for folder in folders],
    })  # fmt: skip
    judge = pingouin.partial_corr(frame, "x", "noise", "log")
    assert row["partial_given_log_parameters"] == pytest.approx(judge["r"].iloc[0], abs=1e-5)


def test_scores_that_are_missing_are_dropped_and_counted(six, tmp_path):
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
    x = [result["points"][at]["score"] for at in kept]
    judge = scipy.stats.linregress(x, frame["mmlu"].iloc[kept])
    assert one["predictors"][0]["slope"] == pytest.approx(judge.slope)


def test_too_few_and_constant(six, make_run):
    folders, scores = six
    with pytest.raises(CouplingError, match=r"only 2 models have both .* needs at least 3"):
        correlate_runs(folders[:2], scores)
    with pytest.raises(CouplingError, match="same is the same for all 6 models"):
        correlate_runs(folders, scores, benchmarks=["same"])
    alike = [make_run(f"model-{at}", 0.8) for at in range(4)]
    with pytest.raises(CouplingError, match=r"excess K=3 p=2 is the same for all 4 models .*nothing correlates"):
        correlate_runs(alike, scores)


def test_names_that_are_not_there(six):
    folders, scores = six
    with pytest.raises(CouplingError, match="there is no benchmark 'gsm8k'; there are mmlu, noise, same"):
        correlate_runs(folders, scores, benchmarks=["gsm8k"])
    with pytest.raises(CouplingError, match="there is no measure 'K=3'; there are excess K=2 p=1, "):
        correlate_runs(folders, scores, measure="K=3")
    with pytest.raises(CouplingError, match=r"no run has scores in the bundled .*no scores for this model.*--alias"):
        correlate_runs(folders, "leaderboard")


def test_runs_that_do_not_compare(make_run):
    folders = [make_run("a", 0.8), make_run("b", 0.9, kind="self")]
    with pytest.raises(CouplingError, match="different kinds"):
        read_runs(folders)
    _, _, _, notes = read_runs([make_run("a", 0.8), make_run("b", 0.9, prompts_hash="1", width="")])
    assert notes == ["the runs were not all measured with the same prompts", "1 of 2 runs do not say their width"]


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


def test_runs_among_the_published_points(make_run, tmp_path):
    folders = [make_run("gpt2", 0.8), make_run("EleutherAI/pythia-70m-deduped", 0.9), make_run("unknown", 0.7)]
    result = correlate_published(folders)
    assert result["results"] == correlate_published()["results"]  # never mixed in
    first = result["measured"][0]
    assert first["model"] == "openai-community/gpt2"
    assert first["score"] == pytest.approx(coupling.score(coupling.open_run(folders[0]), 3, 1))
    assert any(reason.startswith("K = 3,") for reason in first["differs"])
    assert any(reason.startswith("prompts bundled,") for reason in first["differs"])
    assert "unknown" in {left["name"].split(" ")[0] for left in result["left_out"]}
    table = scatter_table(result)
    assert table.columns.to_list() == ["model", "score", "benchmark", "group"]
    assert table["group"].value_counts().to_dict() == {"published": 28, "measured": 2}


def test_the_table_of_a_scatter(six):
    folders, scores = six
    table = scatter_table(correlate_runs(folders, scores), "noise")
    assert table["benchmark"].to_list() == [0, 1, 2, 0, 1, 2]
    assert table["model"].to_list() == [f"Model_{at}" for at in range(6)]


def test_sizes_that_are_not_known_are_said_to_be_missing(make_run, tmp_path):
    folders = [make_run(f"m-{at}", 0.7 + 0.05 * at, width="") for at in range(5)]
    (tmp_path / "s.csv").write_text("model,b\n" + "".join(f"m-{at},{at}\n" for at in range(5)))
    result = correlate_runs(folders, str(tmp_path / "s.csv"))
    assert {"predictor": "width", "reason": "no model tells it"} in result["results"][0]["absent"]
    assert "5 of 5 runs do not say their width" in result["notes"]


def test_the_same_seed_gives_the_same_numbers():
    first, again, other = (correlate(published_table(), seed=seed, resamples=199) for seed in (0, 0, 1))
    assert first == again
    assert first["results"] != other["results"]
