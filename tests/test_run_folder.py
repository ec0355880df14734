"""Runs on disk: atomic, resumable, complete or refused."""

import errno
import json
import os

import numpy as np
import pytest

import coupling
from coupling.errors import CouplingError
from coupling.files import write_atomically
from coupling.models.chat import PromptWarning
from coupling.netcdf import to_bytes
from coupling.parts_file import encode
from coupling.run_files import count_measured
from coupling.run_folder import RunFolder, open_run, read_summary, writing
from tests.helpers import make_ids, make_model

INPUTS = ("0" * 64, "1" * 64)
"""Hashes of what two prompts give to a model."""


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
    folder = RunFolder(tmp_path / "run", {"seed": 0}, INPUTS)
    with pytest.raises(CouplingError, match=r"unfinished \(0 prompts measured\); .*`resume=True`"):
        open_run(tmp_path / "run")
    folder.keep(0, run.isel(prompt=0))
    with pytest.raises(CouplingError, match="1 prompts measured"):
        open_run(tmp_path / "run")
    write_atomically(tmp_path / "run" / "run.nc", to_bytes(run))  # killed before run.json
    with pytest.raises(CouplingError, match="unfinished"):
        open_run(tmp_path / "run")


def test_resuming_finds_the_parts(tmp_path, run):
    RunFolder(tmp_path / "run", {"seed": 0}, INPUTS).keep(1, run.isel(prompt=1, drop=True))
    again = RunFolder(tmp_path / "run", {"seed": 0}, INPUTS, resume=True)
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


def _part(run, prompt):
    return run.isel(prompt=prompt, drop=True)


def test_a_part_of_another_run_is_refused(tmp_path, run):
    """Copied by hand, or written by a process that ignored the lock."""
    for name, seed in (("a", 0), ("b", 1)):
        folder = RunFolder(tmp_path / name, {"seed": seed}, INPUTS)
        folder.keep(0, _part(run, 0))
    content = (tmp_path / "b" / "parts.bin").read_bytes()
    for mixed in (content, (tmp_path / "a" / "parts.bin").read_bytes() + content):
        (tmp_path / "a" / "parts.bin").write_bytes(mixed)
        with pytest.raises(CouplingError, match=r"measurement 0 of a run of another model .*cannot be resumed"):
            RunFolder(tmp_path / "a", {"seed": 0}, INPUTS, resume=True)
    RunFolder(tmp_path / "a", {"seed": 0}, INPUTS, overwrite=True)
    assert count_measured(tmp_path / "a") == 0


def test_a_part_of_another_prompt_is_refused(tmp_path, run):
    RunFolder(tmp_path / "a", {}, INPUTS).keep(1, _part(run, 1))
    with pytest.raises(CouplingError, match="other token ids as prompt 1, so it cannot be resumed"):
        RunFolder(tmp_path / "a", {}, ("0" * 64, "2" * 64), resume=True)
    with pytest.raises(CouplingError, match="measured prompt 1, and only 1 prompts are given now"):
        RunFolder(tmp_path / "a", {}, INPUTS[:1], resume=True)


@pytest.mark.parametrize("damage", ["first byte", "a number", "the end", "all"])
def test_a_damaged_part_is_measured_again_and_that_is_said(tmp_path, run, damage):
    folder = RunFolder(tmp_path / "a", {}, INPUTS)
    folder.keep(0, _part(run, 0))
    length = (tmp_path / "a" / "parts.bin").stat().st_size
    folder.keep(1, _part(run, 1))
    content = bytearray((tmp_path / "a" / "parts.bin").read_bytes())
    at, lost = {"first byte": (0, {0}), "a number": (length - 9, {0}), "the end": (-1, {1}), "all": (0, {0, 1})}[damage]
    if damage == "all":
        content = bytearray(b"not a file of parts")
    elif damage == "the end":
        del content[at:]
    else:
        content[at] ^= 1
    (tmp_path / "a" / "parts.bin").write_bytes(content)
    with pytest.warns(PromptWarning, match=r"damaged or was cut short.*measured again"):
        again = RunFolder(tmp_path / "a", {}, INPUTS, resume=True)
    assert {prompt for prompt in (0, 1) if again.part(prompt) is None} == lost
    for prompt in lost:
        again.keep(prompt, _part(run, prompt))
    for prompt in (0, 1):
        assert again.part(prompt).identical(_part(run, prompt))


def test_a_full_disk_keeps_the_parts_before(tmp_path, run, monkeypatch):
    folder = RunFolder(tmp_path / "a", {}, INPUTS)
    folder.keep(0, _part(run, 0))
    whole, real = (tmp_path / "a" / "parts.bin").read_bytes(), os.write

    def full(descriptor, content):
        if len(content) <= 500:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content[:500])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(CouplingError, match=r"No space left on device; 1 measured prompts are saved, .*resume"):
            folder.keep(1, _part(run, 1))
    assert (tmp_path / "a" / "parts.bin").read_bytes() == whole
    folder.leave()
    assert RunFolder(tmp_path / "a", {}, INPUTS, resume=True).part(0) is not None


def test_a_finished_run_is_extended(tmp_path, run):
    whole = RunFolder(tmp_path / "whole", {}, INPUTS)
    whole.finish(run, {})
    folder = RunFolder(tmp_path / "a", {}, INPUTS[:1])
    folder.finish(run.isel(prompt=[0]), {})
    assert RunFolder(tmp_path / "a", {}, INPUTS[:1], resume=True).finished
    again = RunFolder(tmp_path / "a", {}, INPUTS, resume=True)
    assert not again.finished
    assert again.part(0) is not None
    assert again.part(1) is None
    assert open_run(tmp_path / "a").sizes["prompt"] == 1  # the finished run can be read until there is a longer one
    again.finish(run, {})
    assert (tmp_path / "a" / "run.nc").read_bytes() == (tmp_path / "whole" / "run.nc").read_bytes()
    assert RunFolder(tmp_path / "a", {}, INPUTS, resume=True).finished
    with pytest.raises(CouplingError, match="only 1 prompts are given"):
        RunFolder(tmp_path / "a", {}, INPUTS[:1], resume=True)


def test_an_unfinished_run_of_an_earlier_version_is_refused_in_one_true_sentence(tmp_path, run):
    folder = tmp_path / "old"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "prompt-000000.nc").write_bytes(to_bytes(_part(run, 0)))
    (folder / "started.json").write_text(json.dumps({"identity": {"package_version": "0.1.0"}}))
    with pytest.raises(CouplingError, match=r"unfinished \(1 prompts measured\)"):
        open_run(folder)
    with pytest.raises(
        CouplingError, match=r"an unfinished run of version 0\.1\.0, which only that version can continue"
    ):
        RunFolder(folder, {}, INPUTS, resume=True)
    RunFolder(folder, {}, INPUTS, overwrite=True).finish(run, {})
    assert sorted(os.listdir(folder)) == ["run.json", "run.nc"]


@pytest.mark.parametrize("names", [[".started.json-a1b2c3d4"], [".lock"], [".run.nc-a1b2c3d4", ".lock"], []])
def test_what_a_kill_leaves_is_recognized_and_removed(tmp_path, run, names):
    for name in names:
        (tmp_path / name).write_text("half")
    with writing(tmp_path):
        RunFolder(tmp_path, {}, INPUTS).finish(run, {})
    (tmp_path / ".run.nc-00000000").write_bytes(b"0" * 5_000_000)
    with writing(tmp_path, resume=True):
        assert RunFolder(tmp_path, {}, INPUTS, resume=True).finished
    assert sorted(os.listdir(tmp_path)) == ["run.json", "run.nc"]


def test_a_temporary_file_of_others_is_theirs(tmp_path):
    (tmp_path / ".thesis-a1b2c3d4").write_text("years of work")
    with pytest.raises(CouplingError, match="contains other files and no run"), writing(tmp_path, overwrite=True):
        raise AssertionError("written")
    assert os.listdir(tmp_path) == [".thesis-a1b2c3d4"]


def test_one_process_at_a_time(tmp_path):
    with writing(tmp_path / "run"):
        RunFolder(tmp_path / "run", {}, INPUTS)
        for options in ({"overwrite": True}, {"resume": True}):
            with (
                pytest.raises(CouplingError, match="another process is writing to the folder"),
                writing(tmp_path / "run", **options),
            ):
                raise AssertionError("locked twice")


def test_nothing_is_left_where_nothing_was_measured(tmp_path):
    with writing(tmp_path / "new"):
        RunFolder(tmp_path / "new", {}, INPUTS).leave()
    assert os.listdir(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyError), writing(tmp_path / "mine"):
        raise KeyError
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("name", ["run.nc", "parts.bin"])
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path, run, name):
    if name == "run.nc":
        RunFolder(tmp_path / "a", {}, INPUTS).finish(run, {})
    else:
        RunFolder(tmp_path / "a", {}, INPUTS)
    (tmp_path / "a" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a" / name)
    with pytest.raises(CouplingError, match="is a named pipe"):
        open_run(tmp_path / "a") if name == "run.nc" else RunFolder(tmp_path / "a", {}, INPUTS, resume=True)


def test_a_part_is_small_beside_its_numbers(run):
    part = _part(run, 0)
    assert len(encode(part)) < part.nbytes + 12_000
