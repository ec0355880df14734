"""``coupling sweep`` as a user meets it."""

import json
from pathlib import Path

import pytest

from coupling.cli.sweep import study_of
from tests.helpers import refused
from tests.tiny_checkpoints import LIGHT_WORKER, save_pretended, save_tiny


@pytest.fixture
def light(monkeypatch, make_run):
    monkeypatch.setenv("PRETENDED_RUN", make_run("org/pretended", 0.9))
    monkeypatch.setattr("coupling.analyses.sweep.processes.COMMAND", LIGHT_WORKER)


@pytest.fixture
def trained(light, cli, tmp_path):
    for step in (1, 10):
        save_pretended(tmp_path / "trained" / f"checkpoint-{step}")
    return "trained/checkpoint-*"


def test_checkpoints_of_a_training_run(cli, trained):
    code, out, err = cli("sweep", trained, "--prompts", "a b", "--out", "study")
    assert code == 0, err
    assert "trained@checkpoint-10" in out
    assert "trained@checkpoint-1 done after" in err  # plain lines, since this is no terminal
    assert "2 tasks: " in err
    assert {path.name for path in Path("study/runs").iterdir()} == {"trained@checkpoint-1", "trained@checkpoint-10"}
    code, out, err = cli("sweep", "study", "--json")
    assert [row["step"] for row in json.loads(out)] == [1, 10]


def test_a_study_file(cli, trained):
    Path("my-study.yaml").write_text(f"models: {trained}\nprompts: a b\nk: [2, 3]\n")
    assert cli("sweep", "my-study.yaml", "--quiet")[:2] == (0, "")
    assert Path("sweeps/my-study/index.csv").exists()
    refused(cli("sweep", "my-study.yaml", "--k", 5), "--k belongs to models", "my-study.yaml", code=2)
    refused(cli("sweep", "my-study.yaml", "other"), "give it alone", code=2)
    Path("my-study.yaml").write_text("models: a\nk: many\n")
    refused(cli("sweep", "my-study.yaml"), "my-study.yaml, line 2: K is 'many'")
    refused(cli("sweep", "none.yaml"), "cannot read the study file none.yaml")


def test_a_task_that_fails_makes_the_exit_code(cli, trained):
    Path("trained/checkpoint-1/behavior").write_text("fail")
    code, out, err = cli("sweep", trained, "--prompts", "a b", "--out", "study", "--json")
    assert code == 1
    assert [row["state"] for row in json.loads(out)] == ["failed", "done"]
    last = err.splitlines()[-1]
    assert last == "error: 1 of 2 tasks were not measured; trained@checkpoint-1: this checkpoint is broken"


def test_refusals(cli, trained):
    refused(cli("sweep", "org/model", "--revisions", "step*"), "the Hugging Face hub cannot be reached")
    refused(cli("sweep", "trained/x*"), "no checkpoint matches trained/x*")
    refused(cli("sweep", trained, "--revisions", "step1"), "revisions belong to models of the hub")
    refused(cli("sweep", trained, "--address", "auto"), "--address", "--engine ray")
    refused(cli("sweep", trained, "--workers", 0), "--workers", code=2)
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("x")
    refused(cli("sweep", trained, "--out", "thesis"), "contains other files")
    assert not Path("sweeps").exists()


def test_options_that_are_zero_count(tmp_path):
    assert study_of(["a"], {"tokens": 0}) == {"models": ["a"], "tokens": 0}


def test_reports_and_correlations_read_a_study(cli, trained):
    assert cli("sweep", trained, "--prompts", "a b", "--out", "study", "--quiet")[0] == 0
    code, _, err = cli("report", "study", "-o", "page.html")
    assert code == 0, err
    assert Path("page.html").stat().st_size > 10_000
    Path("scores.csv").write_text("model,mmlu\nother,30\n")
    refused(cli("correlate", "study", "--scores", "scores.csv"), "no run has scores in scores.csv")


@pytest.mark.slow
def test_a_real_checkpoint(cli, tmp_path):
    save_tiny(tmp_path / "tiny" / "step5")
    code, out, err = cli("sweep", "tiny/step5", "--prompts", "a b c", "--k", 2, "--json", "--threads", 1)
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["task"], row["state"]) == ("tiny@step5", "done")
    assert row["score"] == pytest.approx(row["coupling K=2 p=2"])
    code, out, _ = cli("show", "sweeps/step5/runs/tiny@step5", "--json")
    assert json.loads(out)["provenance"]["model"] == str(tmp_path / "tiny" / "step5")
