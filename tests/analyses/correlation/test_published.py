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
    run = coupling.open_run(folders[0])  # d = 32 and K = 3, which is a tenth of it
    assert first["score"] == pytest.approx(coupling.score(run, 3, 1))
    assert first["chance"] == pytest.approx(coupling.chance_score(run, 3, 1))
    assert (first["k"], first["width"], first["comparable"], first["differs"]) == ("3", 32, True, [])
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
    run = {"kind": "depth", "last_token": True, "tenth": "10%"}
    assert differences(run, "10%") == []
    (k,) = differences(run, "10")
    assert k.startswith("K = 10; the published points were in all likelihood measured with K = 10% of the width")
    assert differences(run | {"last_token": False}, "10%") == ["another token than the last one"]
    found = differences(run | {"kind": "self", "tenth": ""}, "10")
    assert [reason.split(";")[0] for reason in found] == ["kind self", "K = 10"]


def test_a_run_is_placed_by_its_tenth_of_the_width(make_run, measured, tmp_path):
    """d = 32: K = 3 is a tenth, whether it was asked for as a number or as a share; K = 2 alone is not."""
    from coupling.run_folder import RunFolder

    folders = []
    for name, run in (
        ("gpt2", measured.assign_coords(k_label=("k", ["2", "10%"]))),
        ("microsoft/phi-2", measured.sel(k=[2])),
        ("EleutherAI/pythia-1.4b-deduped", measured.assign(measured_token=measured.measured_token - 1)),
    ):
        run = run.copy()
        run.attrs = measured.attrs | {"model": name, "prompts": "bundled"}
        folders.append(str(tmp_path / name.replace("/", "-")))
        RunFolder(tmp_path / name.replace("/", "-"), {}).finish(run, {})
    placed = correlate_published(folders)["measured"]
    assert [(run["k"], run["comparable"]) for run in placed] == [("10%", True), ("2", False), ("3", False)]
    assert placed[0]["score"] == pytest.approx(coupling.score(measured, 3, 1))
    assert placed[2]["differs"] == ["another token than the last one"]


def test_the_chance_level_of_the_published_points(published):
    assert published["chance"]["share"] == "10%"
    predictors = [row["name"] for row in published["results"][0]["predictors"]]
    assert predictors[-1] == "chance at K = d/10"
    joints = [joint["predictors"] for joint in published["results"][0]["joint"]]
    assert joints[-2:] == [
        ["coupling", "chance at K = d/10"],
        ["coupling", "chance at K = d/10", "log parameters"],
    ]
    point = next(point for point in published["points"] if point["model"] == "gpt2")
    assert point["chance"] == pytest.approx(1 - (10 / 768) ** 0.5)
