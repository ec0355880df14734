"""Fixtures of the sweep's tests: light workers, and studies of pretended checkpoints."""

from pathlib import Path

import pytest

from coupling.analyses.sweep.driver import sweep
from tests.tiny_checkpoints import LIGHT_WORKER, save_pretended


@pytest.fixture
def light(monkeypatch, make_run, tmp_path):
    """Workers pretend to measure; the current folder is empty."""
    monkeypatch.setenv("PRETENDED_RUN", make_run("org/pretended", 0.9))
    monkeypatch.setattr("coupling.analyses.sweep.processes.COMMAND", LIGHT_WORKER)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def swept(light, tmp_path) -> Path:
    """A study's folder: steps 1 and 2 are done, step 3 has failed."""
    for step, behavior in ((1, "ok"), (2, "ok"), (3, "fail")):
        save_pretended(tmp_path / "trained" / f"step{step}", behavior)
    sweep({"models": "trained/step*", "prompts": "a b"}, out="study", workers=1)
    return tmp_path / "study"
