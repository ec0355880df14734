"""Standard streams that are closed, full, or of another encoding: a result or one line, never a traceback."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from coupling.cli.streams import Stderr

COUPLING = f"{sys.executable} -m coupling.cli"


@pytest.fixture(scope="module")
def run(six_runs):
    return six_runs[0]


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=os.environ | environment, check=False)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


@pytest.mark.parametrize("arguments", ["show {run}", "show {run} --json", "--help"])
def test_a_full_device_is_one_line(run, arguments):
    code, _, err = shell(f"{COUPLING} {arguments.format(run=run)} > /dev/full")
    assert (code, err) == (1, "error: cannot read or write the output: No space left on device\n")


def test_closed_streams(run):
    assert shell(f"{COUPLING} show {run} >&-") == (0, "", "")
    code, out, err = shell(f"{COUPLING} show {run} 2>&- <&-")
    assert (code, err) == (0, "")
    assert "excess" in out
    code, out, err = shell(f"{COUPLING} show {run} 2>/dev/full")
    assert (code, err) == (0, "")
    code, out, err = shell(f"{COUPLING} analyze --prompts - --out /nowhere/run <&-")
    assert (code, out) == (1, "")
    assert err == "error: standard input is closed, so there are no prompts in it\n"


def test_nobody_reads(run):
    assert shell(f"{COUPLING} show {run} --json | true; exit ${{PIPESTATUS[0]}}")[2] == ""


@pytest.mark.parametrize(
    ("encoding", "plus_minus"), [("ascii", "+- prompts"), ("latin-1", "\xb1 prompts"), ("cp1252", "\xb1 prompts")]
)
def test_other_encodings(run, encoding, plus_minus):
    code, out, err = shell(f"{COUPLING} show {run}", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert plus_minus in out
    code, out, err = shell(f"{COUPLING} show $'caf\\xc3\\xa9 \\xff \\e[31m'", PYTHONIOENCODING=encoding)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


def test_what_libraries_write_is_cleaned_and_never_fails():
    stream = io.StringIO()
    guarded = Stderr(stream)
    assert guarded.write("a\x1b[31m\n\tb\r") == 10
    guarded.trusted.write("\x1b[1A")
    guarded.writelines(["c", "\u202e"])
    guarded.flush()
    assert stream.getvalue() == "a\\x1b[31m\n\tb\r\x1b[1Ac\\u202e"
    stream.close()
    guarded.write("nobody reads this")
    guarded.flush()


def test_sigterm_is_exit_143():
    code = (
        "import sys, time; sys.argv = ['coupling', 'show', 'x']\n"
        "from coupling.cli import app\n"
        "def wait(_): print('ready', file=sys.stderr, flush=True); time.sleep(60)\n"
        "import coupling.analyses.sweep.runs as runs; runs.checked_runs = wait\n"
        "app.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert b"Traceback" not in process.stderr.read()
