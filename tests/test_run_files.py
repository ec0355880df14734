"""Which folders contain a run, found without reading one."""

import json

import pytest

from coupling.errors import CouplingError
from coupling.run_files import check_run_folder, finished_run, inputs_in, inputs_of, is_run


def test_a_finished_run(tmp_path):
    for name in ("run.nc", "run.json"):
        (tmp_path / name).write_text("{}")
    assert finished_run(tmp_path) == tmp_path
    assert is_run({"run.nc", "run.json"})
    assert not is_run({"run.nc"})
    assert check_run_folder(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ((), "contains no run: there is no run.json beside a run.nc$"),
        (("config.json",), "it is a model, which is measured by: coupling analyze"),
        (("model.gguf",), "it is a model, which is measured by: coupling analyze"),
        (("table.csv", "run.json"), "it is a run of coupling rl, which is read by: coupling show"),
        (("started.json",), r"is unfinished \(0 prompts measured\); repeat its command with `resume=True`"),
    ],
)
def test_other_folders_are_named_for_what_they_are(tmp_path, files, problem):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(CouplingError, match=problem):
        finished_run(tmp_path)


def test_what_is_no_folder(tmp_path):
    with pytest.raises(CouplingError, match="there is no folder"):
        finished_run(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(CouplingError, match="is a file; a run is a folder"):
        finished_run(tmp_path / "file")


def test_inputs_are_named(tmp_path):
    assert inputs_of({"processor_hash": "a"}) == "images"
    assert inputs_in(tmp_path) == "prompts"
    (tmp_path / "started.json").write_text(json.dumps({"identity": {"processor_hash": "a"}}))
    assert inputs_in(tmp_path) == "images"
