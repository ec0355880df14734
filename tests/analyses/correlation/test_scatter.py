"""The points of a scatter, from runs and from a correlation."""

import subprocess
import sys

import pandas as pd
import pytest

import coupling
from coupling.analyses.correlation.correlate import correlate_runs
from coupling.analyses.correlation.published import correlate_published
from coupling.analyses.correlation.scatter import headline, scatter_of_result, scatter_of_runs
from coupling.errors import CouplingError


def test_the_points_of_runs(six):
    folders, scores = six
    points, measure, benchmark = scatter_of_runs(folders, scores)
    assert points.columns.to_list() == ["model", "score", "benchmark"]
    assert points["model"].to_list() == [f"Model_{index}" for index in range(6)]
    assert (measure, benchmark) == ("excess K=3 p=2", "mmlu")
    scored = pd.read_csv(scores)
    assert points["benchmark"].to_list() == scored["mmlu"].to_list()
    points, measure, benchmark = scatter_of_runs(folders, scores, benchmark="noise", measure="coupling K=2 p=1")
    assert points["score"].to_list() == pytest.approx([coupling.score(coupling.open_run(f), 2, 1) for f in folders])
    assert points["benchmark"].to_list() == scored["noise"].to_list()
    assert (measure, benchmark) == ("coupling K=2 p=1", "noise")


def test_one_run_is_enough_for_a_point_and_a_missing_score_is_none(six):
    folders, scores = six
    frame = pd.read_csv(scores)
    frame.loc[1, "mmlu"] = None
    frame.to_csv(scores, index=False)
    points, _, _ = scatter_of_runs(folders[:2], scores)
    assert points["model"].to_list() == ["Model_0"]
    with pytest.raises(CouplingError, match="no run has both excess K=3 p=2 and mmlu; choose another `benchmark`"):
        scatter_of_runs(folders[1:2], scores)


def test_names_that_do_not_exist(six):
    folders, scores = six
    with pytest.raises(CouplingError, match="there is no benchmark 'gsm8k'; there are mmlu, noise, same"):
        scatter_of_runs(folders, scores, benchmark="gsm8k")
    with pytest.raises(CouplingError, match="there is no measure 'K=3'"):
        scatter_of_runs(folders, scores, measure="K=3")


def test_aliases(six):
    folders, scores = six
    points, _, _ = scatter_of_runs(folders[:2], scores, aliases=["org/model-0=Model_5"])
    assert points["model"].to_list() == ["Model_5", "Model_1"]


def test_a_scatter_needs_no_statistics_package(six):
    folders, scores = six
    code = (
        "import sys; sys.modules['statsmodels'] = None\n"
        "from coupling.analyses.correlation.scatter import scatter_of_runs\n"
        "print(len(scatter_of_runs(sys.argv[2:], sys.argv[1])[0]))"
    )
    command = [sys.executable, "-c", code, scores, *folders]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "6\n"


def test_the_points_of_the_published_models_and_runs(make_run):
    result = correlate_published([make_run("gpt2", 0.8), make_run("microsoft/phi-2", 0.9)], resamples=9)
    points, measure, benchmark = scatter_of_result(result)
    assert points.columns.to_list() == ["model", "score", "benchmark", "width", "chance", "group"]
    assert points["group"].value_counts().to_dict() == {"published": 28, "measured": 2}
    assert (measure, benchmark) == ("coupling", "leaderboard_average")


def test_the_headline():
    assert headline(["arc", "Average", "mmlu"]) == "Average"
    assert headline(["arc", "mmlu"]) == "arc"


def test_the_points_of_a_correlation(six):
    folders, scores = six
    points, _, benchmark = scatter_of_result(correlate_runs(folders, scores, resamples=9), "noise")
    assert points["benchmark"].to_list() == [0, 1, 2, 0, 1, 2]
    assert points["model"].to_list() == [f"Model_{index}" for index in range(6)]
    assert benchmark == "noise"
