"""The folder of a run: what may be replaced, and that no interruption leaves one that cannot be used again."""

import json
import shutil
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.analyses.rl.folder import check_folder, prepare_folder
from coupling.analyses.rl.resume import read_record

EARLIER_RUN = Path(__file__).parents[2] / "fixtures" / "runs" / "0.1.0-rl"


def earlier_run(folder: Path, *, table: bool = True, checkpoint: bool = True) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text('{"config": {}, "seeds": [0]}')
    if table:
        (folder / "table.csv").write_text("step\n")
    if checkpoint:
        (folder / "trainer" / "checkpoint-1").mkdir(parents=True)
    return folder


def test_a_run_is_replaced_when_asked_for(tmp_path):
    folder = earlier_run(tmp_path / "run")
    with pytest.raises(CouplingError, match=r"already contains a run; .*`overwrite=True`"):
        prepare_folder(folder, overwrite=False)
    assert (folder / "trainer" / "checkpoint-1").exists()
    prepare_folder(folder, overwrite=True)
    assert list(folder.iterdir()) == []
    prepare_folder(tmp_path / "new" / "deep", overwrite=False)
    assert (tmp_path / "new" / "deep").is_dir()


def test_a_run_of_the_previous_version_is_recognized(tmp_path):
    folder = Path(shutil.copytree(EARLIER_RUN, tmp_path / "run"))
    with pytest.raises(CouplingError, match="already contains a run"):
        prepare_folder(folder, overwrite=False)
    prepare_folder(folder, overwrite=True)
    assert list(folder.iterdir()) == []


def test_a_run_that_failed_before_its_first_step_is_not_in_the_way(tmp_path):
    folder = earlier_run(tmp_path / "run", table=False, checkpoint=False)
    (folder / "trainer").mkdir()
    prepare_folder(folder, overwrite=False)
    assert not (folder / "run.json").exists()


def test_checkpoints_of_another_kind_of_run_are_never_removed(tmp_path):
    folder = earlier_run(tmp_path / "run")
    with pytest.raises(CouplingError, match="contains trainer/ of another run, which would be lost"):
        prepare_folder(folder, overwrite=True, replaced=())
    assert (folder / "table.csv").exists()
    assert (folder / "trainer" / "checkpoint-1").exists()


def test_folders_of_others_are_left_alone(tmp_path):
    kept = tmp_path / "model" / "weights.bin"
    kept.parent.mkdir()
    kept.write_text("x")
    for summary in ("{}", "not JSON", '{"config": {}, "seeds": []}'):
        (tmp_path / "run.json").write_text(summary)
        with pytest.raises(CouplingError, match="contains"):
            prepare_folder(tmp_path, overwrite=False)
        assert kept.exists()
    with pytest.raises(CouplingError, match="would be lost"):
        prepare_folder(tmp_path, overwrite=True, replaced=())
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(CouplingError, match="contains other files and no run"):
        prepare_folder(tmp_path, overwrite=True)
    assert kept.exists()
    with pytest.raises(CouplingError, match="is a file"):
        prepare_folder(kept, overwrite=True)


def test_leftovers_of_a_process_that_was_killed_are_not_in_the_way(tmp_path):
    for name in (".lock", ".run.json-ab_d1234", ".table.csv-abcdefgh"):
        (tmp_path / name).write_text("")
    with pytest.raises(CouplingError, match="no run of coupling rl to continue"):
        check_folder(tmp_path, resume=True)
    prepare_folder(tmp_path, overwrite=False)
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]
    (tmp_path / ".run.json-notes").write_text("")
    with pytest.raises(CouplingError, match="other files"):
        check_folder(tmp_path)


class KilledError(BaseException):
    pass


def test_an_overwriting_that_is_killed_anywhere_can_be_repeated(tmp_path, monkeypatch):
    """Every operation on a file is a place where the process may end; each leaves a folder that is accepted again."""
    count = {"left": 10**9, "seen": 0}

    def counted(function):
        def operation(*arguments, **options):
            count["seen"] += 1
            count["left"] -= 1
            if count["left"] < 0:
                raise KilledError
            return function(*arguments, **options)

        return operation

    with monkeypatch.context() as patched:
        for name in ("unlink", "rmdir", "mkdir", "replace", "chmod", "open", "fsync"):
            patched.setattr(f"os.{name}", counted(getattr(__import__("os"), name)))
        folder = earlier_run(tmp_path / "whole")
        count["seen"] = 0
        prepare_folder(folder, overwrite=True)
        operations = count["seen"]
        assert operations > 8
        states = set()
        for place in range(operations):
            count["left"] = 10**9
            folder = earlier_run(tmp_path / f"killed-{place}")
            count["left"] = place
            with pytest.raises(KilledError):
                prepare_folder(folder, overwrite=True)
            count["left"] = 10**9
            states.add(tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))))
            if json.loads((folder / "run.json").read_text() if (folder / "run.json").exists() else "{}").get(
                "replacing"
            ):
                with pytest.raises(CouplingError, match="was being replaced when that command was stopped"):
                    read_record(folder)
            prepare_folder(folder, overwrite=True)
            assert list(folder.iterdir()) == []
        assert len(states) > 3
