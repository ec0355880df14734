"""The crash test itself, shortened: nothing is lost, and it notices where something is."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.crash_test import operations
from tests.helpers import ROOT

SCENARIOS = {"start", "overwrite", "overwrite of an unfinished run", "resume", "extension", "start of a streamed run",
             "resume of a streamed run", "overwrite of a streamed run"}  # fmt: skip


def _run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)


def _killed(tmp_path, step: int) -> dict[str, int]:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)  # it syncs hundreds of times
    result = _run("benchmarks.crash_test.operations", place, str(step))
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def test_a_kill_at_some_operations_leaves_a_folder_that_is_accepted(tmp_path):
    killed = _killed(tmp_path, 4)
    assert set(killed) == SCENARIOS
    assert min(killed.values()) >= 5, killed


@pytest.mark.slow
def test_a_kill_at_every_operation_leaves_a_folder_that_is_accepted(tmp_path):
    killed = _killed(tmp_path, 1)
    assert set(killed) == SCENARIOS
    assert min(killed.values()) > 20, killed


def test_a_broken_promise_is_noticed(tmp_path):
    operations.start(tmp_path / "run", lambda _: None)
    expected = (tmp_path / "run" / "run.nc").read_bytes()
    operations.check(tmp_path / "run", expected, {0, 1, 2})
    with pytest.raises(RuntimeError, match="other bytes"):
        operations.check(tmp_path / "run", expected + b"x", set())
    (tmp_path / "run" / "run.nc").unlink()
    (tmp_path / "run" / "started.json").write_text("{}")
    with pytest.raises(RuntimeError, match="saved prompts cannot be resumed"):
        operations.check(tmp_path / "run", expected, {0})
    (tmp_path / "run" / "mine.txt").write_text("")
    operations.overwrite(tmp_path / "run", lambda _: None)
    with pytest.raises(RuntimeError, match="contains"):
        operations.check(tmp_path / "run", expected, set())


@pytest.mark.slow
def test_the_whole_program_shortened(tmp_path):
    counts = ("--analyze", "12", "--rl", "6", "--sweep", "4", "--inputs", "24", "--step", "0")
    result = _run("benchmarks.crash_test", *counts, "--out", str(tmp_path / "figures.json"))
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert "22 kills" in result.stdout
    assert json.loads((tmp_path / "figures.json").read_text())["kills_of"] == {"analyze": 12, "rl": 6, "sweep": 4}
    assert "24 inputs tried" in result.stdout
    assert result.stdout.rstrip().endswith("nothing lost")
