"""The lock of a folder: one process at a time, and a process that dies releases it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.locking import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from coupling.locking import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_once_and_nothing_is_left(tmp_path):
    folder = tmp_path / "new" / "run"
    with locked(folder):
        assert (folder / LOCK).exists()
        with (
            pytest.raises(CouplingError, match=r"another process is writing to the folder .*choose another `out`"),
            locked(folder),
        ):
            raise AssertionError("locked twice")
        assert (folder / LOCK).exists()
    assert list(folder.iterdir()) == []
    with locked(folder):
        pass


def test_an_error_releases_the_lock(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_a_killed_process_releases_its_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(CouplingError, match="another process"), locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CouplingError, match="cannot write to the folder"), locked(tmp_path / "file" / "run"):
        pass
    if os.getuid():  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        with (
            pytest.raises(CouplingError, match="cannot write to the folder"),
            locked(Path(tmp_path / "closed" / "run")),
        ):
            pass
