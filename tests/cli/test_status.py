"""``coupling status``."""

import json

from tests.helpers import refused
from tests.tiny_checkpoints import LIGHT_WORKER, save_pretended


def test_how_far_a_sweep_is(cli, tmp_path, monkeypatch, make_run):
    monkeypatch.setenv("PRETENDED_RUN", make_run("org/pretended", 0.9))
    monkeypatch.setattr("coupling.analyses.sweep.processes.COMMAND", LIGHT_WORKER)
    save_pretended(tmp_path / "trained" / "step1")
    save_pretended(tmp_path / "trained" / "step2", "fail")
    assert cli("sweep", "trained/*", "--prompts", "a", "--out", "study")[0] == 1
    code, out, err = cli("status", "study")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2 tasks: 1 done, 1 failed",
        "trained@step2 failed: this checkpoint is broken",
        "every task has ended",
    ]
    content = json.loads(cli("status", "study", "--json")[1])
    assert content["states"]["failed"] == 1
    refused(cli("status", "trained"), "trained is not the folder of a study")
