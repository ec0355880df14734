"""``coupling report`` as a user meets it."""

import pytest

from tests.helpers import refused
from tests.saved_rl import write_rl_run

PROMPTS = ("analyze", "--prompts", "import os\nimport sys", "--k", 3)


@pytest.fixture
def run(cli):
    assert cli(*PROMPTS, "--out", "run")[0] == 0
    return "run"


def test_the_report(cli, run, tmp_path):
    (tmp_path / "s.csv").write_text("model,score,benchmark\na,1,2\nb,2,4\nc,3,5\n")
    code, out, err = cli("report", run, run, "--scatter", "s.csv", "-o", "page.html")
    assert (code, out) == (0, "")
    assert err.startswith("saved page.html (")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert cli("report", run, "--quiet") == (0, "", "")
    assert (tmp_path / "report.html").exists()


def test_benchmark_scores_are_those_that_correlate_reads(cli, run, tmp_path):
    (tmp_path / "scores.csv").write_text("model,mmlu,arc\nbundled,50,40\nother,30,20\n")
    for options, name in (((), "mmlu"), (("--benchmark", "arc"), "arc")):
        assert cli("report", run, "--scores", "scores.csv", *options, "-o", "page.html")[0] == 0
        page = (tmp_path / "page.html").read_text()
        assert name in page
        assert "excess K=3 p=2" in page
    refused(cli("report", run, "--benchmark", "arc"), "--benchmark applies to --scores", code=2)
    refused(cli("report", run, "--scores", "scores.csv", "--scatter", "s.csv"), "exclude each other", code=2)


def test_a_table_of_points_was_once_given_as_scores(cli, run, tmp_path):
    (tmp_path / "s.csv").write_text("model,score,benchmark\na,1,2\nb,2,4\nc,3,5\n")
    code, _, err = cli("report", run, "--scores", "s.csv", "-o", "page.html")
    assert code == 0
    assert err.splitlines()[0] == "warning: --scores with a table of points is now called --scatter"


def test_refusals(cli, run, tmp_path):
    refused(cli("report", run, "-o", "page.pdf"), ".html")
    (tmp_path / "points.csv").write_text("model,benchmark\na,1\n")
    refused(cli("report", run, "--scatter", "points.csv"), "points.csv", "column score")


def test_runs_of_reinforcement_learning(cli, tmp_path):
    folder = str(write_rl_run(tmp_path / "mine"))
    code, out, err = cli("report", folder, "-o", str(tmp_path / "rl.html"))
    assert (code, out) == (0, "")
    assert "saved" in err
    assert "p3o on task brackets, a small model, seeds 0, 1, 4 steps, finished" in (tmp_path / "rl.html").read_text()
    refused(cli("report", folder, "--skip-first", "1"), "do not apply to runs of coupling rl", code=2)
