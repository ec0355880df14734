"""Runs on disk: atomic, resumable, complete or refused."""

import errno
import json
import os

import numpy as np
import pytest

import coupling
from coupling.errors import CouplingError
from coupling.files import write_atomically
from coupling.run_folder import RunFolder, open_run, read_summary, to_bytes
from tests.helpers import make_ids, make_model


@pytest.fixture
def run():
    run = coupling.measure(make_model("llama"), [make_ids(0, 5), make_ids(1, 7)], k=(2, 3))
    run["prompt_text"] = ("prompt", ["one", "zwei <ü>"])
    return run


def test_what_is_written_is_read(tmp_path, run):
    folder = RunFolder(tmp_path / "run", {"seed": 0})
    folder.finish(run, {"timings": {"seconds": 1.5}})
    again = open_run(tmp_path / "run")
    assert again.identical(run)
    assert read_summary(tmp_path / "run")["timings"]["seconds"] == 1.5
    assert sorted(os.listdir(tmp_path / "run")) == ["run.json", "run.nc"]


def test_an_unfinished_run_is_not_readable(tmp_path, run):
    folder = RunFolder(tmp_path / "run", {"seed": 0})
    with pytest.raises(CouplingError, match=r"unfinished \(0 prompts measured\); .*`resume=True`"):
        open_run(tmp_path / "run")
    folder.keep(0, run.isel(prompt=0))
    with pytest.raises(CouplingError, match="1 prompts measured"):
        open_run(tmp_path / "run")
    write_atomically(tmp_path / "run" / "run.nc", to_bytes(run))  # killed before run.json
    with pytest.raises(CouplingError, match="unfinished"):
        open_run(tmp_path / "run")


def test_resuming_finds_the_parts(tmp_path, run):
    RunFolder(tmp_path / "run", {"seed": 0}).keep(1, run.isel(prompt=1, drop=True))
    again = RunFolder(tmp_path / "run", {"seed": 0}, resume=True)
    assert again.part(0) is None
    assert again.part(1).identical(run.isel(prompt=1, drop=True))


def test_another_identity_is_not_resumed(tmp_path):
    RunFolder(tmp_path / "run", {"seed": 0, "k": [5]})
    with pytest.raises(CouplingError, match=r"differs in seed \(seed: 0 there, 1 now\)"):
        RunFolder(tmp_path / "run", {"seed": 1, "k": [5]}, resume=True)


def test_a_folder_in_use_is_refused(tmp_path):
    RunFolder(tmp_path / "run", {})
    with pytest.raises(CouplingError, match="already contains a run; give `resume=True`"):
        RunFolder(tmp_path / "run", {})
    RunFolder(tmp_path / "run", {}, overwrite=True)


def test_overwrite_spares_what_is_not_ours(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(CouplingError):
            RunFolder(tmp_path, {}, **options)
    (tmp_path / "run.json").write_text("{}")  # a file of that name makes no run
    with pytest.raises(CouplingError, match="no run; choose another folder"):
        RunFolder(tmp_path, {}, overwrite=True)
    (tmp_path / "run.nc").write_text("")  # a run beside it
    RunFolder(tmp_path, {}, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(CouplingError, match="is a file"):
        RunFolder(tmp_path / "run", {})


def test_a_disk_full_at_the_start_leaves_a_folder_that_can_be_used(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CouplingError, match="No space left"):
            RunFolder(tmp_path / "run", {})
    RunFolder(tmp_path / "run", {})


@pytest.mark.parametrize("content", [b"", b"not NetCDF", b"\x89HDF\r\n\x1a\n truncated"])
def test_a_damaged_run_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "run.nc").write_bytes(content)
    with pytest.raises(CouplingError, match="not a NetCDF file that can be read"):
        open_run(tmp_path)


def test_a_truncated_run_is_refused(tmp_path, run):
    RunFolder(tmp_path / "run", {}).finish(run, {})
    path = tmp_path / "run" / "run.nc"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CouplingError, match="not a NetCDF file"):
        open_run(tmp_path / "run")


def test_no_run_at_all(tmp_path):
    with pytest.raises(CouplingError, match="contains no run"):
        open_run(tmp_path)
    with pytest.raises(CouplingError, match="there is no folder"):
        open_run(tmp_path / "nowhere")


def test_json_knows_no_nan(tmp_path):
    folder = RunFolder(tmp_path / "run", {"k": np.int64(3)})
    assert json.loads((tmp_path / "run" / "started.json").read_text())["identity"]["k"] == 3
    with pytest.raises(ValueError, match="JSON"):
        folder.finish(coupling.measure(make_model("llama"), make_ids(), k=2), {"x": float("nan")})
