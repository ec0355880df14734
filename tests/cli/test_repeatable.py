"""The same command gives the same bytes, and nearly the same numbers with another number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import coupling


def _measured(folder: Path, threads: int) -> bytes:
    command = [
        sys.executable,
        "-m",
        "coupling.cli",
        "analyze",
        "--limit",
        "2",
        "--k",
        "5",
        "--quiet",
        "--out",
        str(folder),
    ]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True)
    return (folder / "run.nc").read_bytes()


@pytest.mark.slow
def test_processes_agree(tmp_path):
    assert _measured(tmp_path / "a", threads=1) == _measured(tmp_path / "b", threads=1)
    _measured(tmp_path / "c", threads=2)
    first, second = (coupling.open_run(tmp_path / name) for name in ("a", "c"))
    assert np.nanmax(abs(first.mismatch - second.mismatch)) < 1e-6
    assert np.nanmax(abs(first.singular_values - second.singular_values)) < 1e-6 * float(first.singular_values.max())
