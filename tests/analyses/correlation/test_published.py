"""The published points: their statistics, and runs that are placed among them."""

import json
from functools import partial

import pandas as pd
import pytest

import coupling
from coupling.analyses.correlation import published as module
from coupling.analyses.correlation.published import differences, published_table
from coupling.errors import CouplingError

# the bootstrap is tested in test_association.py; here a few resamples are enough
correlate_published = partial(module.correlate_published, resamples=99)


@pytest.fixture(scope="module")
def published():
    return correlate_published()


def test_the_table():
    table = published_table()
    assert table.frame.shape == (28, 6)
    assert table.frame.notna().all().all()
    assert (table.measures, table.benchmarks) == (["coupling"], ["leaderboard_average"])
    assert "digitized from Figure 1(a)" in table.notes[0]


def test_the_published_numbers(published):
    (one,) = published["results"]
    r2 = {row["name"]: row["r2"] for row in one["predictors"]}
    assert r2["coupling"] == pytest.approx(0.799, abs=0.005)
    expected = {"parameters": 0.648, "log parameters": 0.774, "width": 0.669, "log width": 0.724, "depth": 0.195}
    assert {name: r2[name] for name in expected} == pytest.approx(expected, abs=0.001)
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


def test_runs_among_the_published_points(make_run):
    folders = [make_run("gpt2", 0.8), make_run("EleutherAI/pythia-70m-deduped", 0.9), make_run("unknown", 0.7)]
    result = correlate_published(folders)
    assert result["results"] == correlate_published()["results"]  # never mixed in
    first = result["measured"][0]
    assert first["model"] == "openai-community/gpt2"
    assert first["score"] == pytest.approx(coupling.score(coupling.open_run(folders[0]), 3, 1))
    assert any(reason.startswith("K = 3;") for reason in first["differs"])
    assert any(reason.startswith("prompts bundled;") for reason in first["differs"])
    assert "unknown" in {left["name"].split(" ")[0] for left in result["left_out"]}


def test_runs_that_cannot_be_placed(make_run, tmp_path):
    (tmp_path / "s.csv").write_text("model,average,mmlu\na,1,2\nb,,3\n")
    folders = [make_run("a", 0.8), make_run("b", 0.9)]
    result = correlate_published(folders, str(tmp_path / "s.csv"))
    assert [run["model"] for run in result["measured"]] == ["a"]
    assert result["left_out"] == [{"name": "b", "reason": "no average"}]
    by_mmlu = correlate_published(folders, str(tmp_path / "s.csv"), benchmark="mmlu")
    assert [run["benchmark"] for run in by_mmlu["measured"]] == [2, 3]
    with pytest.raises(CouplingError, match="there is no benchmark 'arc'; there are average, mmlu"):
        correlate_published(folders, str(tmp_path / "s.csv"), benchmark="arc")


def test_the_differences_from_the_published_points():
    found = differences({"kind": "self", "prompts": ""}, 10)
    assert [reason.split(";")[0] for reason in found] == ["kind self", "K = 10", "prompts not stated"]
    assert len(differences({"kind": "depth", "prompts": "bundled"}, 10)) == 2
