"""Commands that are killed, interrupted, or out of disk space."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import coupling
from coupling.run_files import count_measured
from tests.helpers import refused


def _start(folder: Path, *extra: str) -> subprocess.Popen:
    """The real command in a process of its own, on many prompts."""
    command = [sys.executable, "-m", "coupling.cli", "analyze", "--k", "5", "--out", str(folder), *extra]
    # A test run in a shell's background ignores Ctrl-C, and children inherit that; the command's user does not.
    listen = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ, preexec_fn=listen, **pipes)


def _wait_for_parts(folder: Path, process: subprocess.Popen, count: int) -> None:
    deadline = time.monotonic() + 300
    while count_measured(folder) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_resumed_to_the_same_bytes(cli, tmp_path, how, code):
    process = _start(tmp_path / "run")
    _wait_for_parts(tmp_path / "run", process, 3)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    if how != signal.SIGKILL:
        assert re.fullmatch(r"interrupted; \d+ prompts are saved, continue with .*--resume\n", err)
    kept = count_measured(tmp_path / "run")
    assert kept >= 3
    refused(cli("show", "run"), "unfinished", "--resume")
    assert cli("analyze", "--k", 5, "--out", "run", "--resume", "--quiet")[0] == 0
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["timings"]["prompt_seconds"].count(None) == kept
    assert cli("analyze", "--k", 5, "--out", "whole", "--quiet")[0] == 0
    assert (tmp_path / "run" / "run.nc").read_bytes() == (tmp_path / "whole" / "run.nc").read_bytes()
    assert np.isfinite(coupling.open_run("run").mismatch).all()


def _wait_for_handlers(process: subprocess.Popen) -> None:
    """Wait until the command has begun: before that a signal meets Python's own start, which no code of ours can see.

    Python sets no handler for SIGTERM, so its bit among the signals that are caught is the command's.
    """
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.M)[1], 16)
        if caught >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)
    raise AssertionError("the command never began")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_early_signal_is_not_swallowed(tmp_path, how):
    """At any moment of the imports: the process ends with the signal's exit code, and leaves nothing."""
    for delay in (0, 0.4, 1.2, 2.2):
        process = _start(tmp_path / "run")
        _wait_for_handlers(process)
        time.sleep(delay)
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
        # Where the signal met Python code that a C extension runs while it is imported, Python ends by the signal
        # itself after the command has ended as it should; a shell says 128 + how of both.
        assert process.returncode in (128 + how, -how), err
        assert "Traceback" not in err
        assert not (tmp_path / "run").exists()


def test_two_processes_on_one_folder(tmp_path, cli):
    """The second is refused, whatever it is told, and the run of the first is whole."""
    first = _start(tmp_path / "run")
    _wait_for_parts(tmp_path / "run", first, 1)
    first.send_signal(signal.SIGSTOP)
    for options in (("--overwrite", "--random-weights"), ("--resume",)):
        refused(cli("analyze", "--k", 5, "--out", "run", *options), "another process is writing to the folder run")
    first.send_signal(signal.SIGCONT)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert cli("analyze", "--k", 5, "--out", "whole", "--quiet")[0] == 0
    assert (tmp_path / "run" / "run.nc").read_bytes() == (tmp_path / "whole" / "run.nc").read_bytes()


def test_a_disk_that_runs_full(tmp_path):
    """A real failing write: the process may write no file beyond a few kilobytes."""
    import resource

    command = [
        sys.executable,
        "-m",
        "coupling.cli",
        "analyze",
        "--limit",
        "2",
        "--k",
        "5",
        "--out",
        str(tmp_path / "r"),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "error: cannot write" in result.stderr
    assert "Traceback" not in result.stderr
    with pytest.raises(coupling.CouplingError, match="there is no folder"):
        coupling.open_run(tmp_path / "r")
