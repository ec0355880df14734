"""Tasks of a study."""

import pytest

from coupling.analyses.sweep.study import study_from_mapping
from coupling.analyses.sweep.tasks import expand
from coupling.errors import CouplingError
from tests.tiny_checkpoints import save_pretended


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tasks_of(models, known=(), **options):
    return expand(study_from_mapping({"models": models} | options), known)


def test_revisions_of_the_hub():
    tasks = tasks_of(["EleutherAI/pythia-160m", "gpt2"], revisions=["step10", "step2"])
    assert [(task.name, task.model, task.revision, task.step) for task in tasks] == [
        ("pythia-160m@step2", "EleutherAI/pythia-160m", "step2", 2),
        ("pythia-160m@step10", "EleutherAI/pythia-160m", "step10", 10),
        ("gpt2@step2", "gpt2", "step2", 2),
        ("gpt2@step10", "gpt2", "step10", 10),
    ]
    assert all(task.on_hub for task in tasks)
    (task,) = tasks_of("gpt2")
    assert (task.name, task.revision, task.step) == ("gpt2", "", None)


def test_checkpoints_of_a_training_run(folder):
    for name in ("checkpoint-100", "checkpoint-20", "logs"):
        save_pretended(folder / "runs" / "seed-0" / name)
    (folder / "runs" / "seed-0" / "logs" / "config.json").unlink()
    tasks = tasks_of("runs/*/*")
    assert [(task.name, task.model, task.revision, task.step) for task in tasks] == [
        ("seed-0@checkpoint-20", "runs/seed-0", "checkpoint-20", 20),
        ("seed-0@checkpoint-100", "runs/seed-0", "checkpoint-100", 100),
    ]
    assert tasks[0].path == str(folder / "runs" / "seed-0" / "checkpoint-20")
    assert not tasks[0].on_hub


def test_a_folder_is_one_task_however_it_is_named(folder):
    save_pretended(folder / "my-model")
    (task,) = tasks_of(["my-model", "./my-model", str(folder / "my-model"), "my-*"])
    assert (task.name, task.model, task.revision) == ("my-model", "my-model", "")


def test_names_are_unique_and_stay(folder):
    for parent in ("a", "b"):
        save_pretended(folder / parent / "x" / "step1")
    tasks = tasks_of(["a/x/step1", "b/x/step1"])
    assert [task.name for task in tasks] == ["x@step1", "b--x@step1"]
    again = tasks_of(["b/x/step1", "a/x/step1", "org/x"], known=tasks)
    assert [task.name for task in again] == ["b--x@step1", "x@step1", "x"]
    names = [task.name for task in tasks_of(["c/m", "d/m", "m"])]
    assert names == ["m", "d--m", "m-2"]


def test_names_are_fit_for_a_file_system():
    (task,) = tasks_of("org/model", revisions="refs/pr/1")
    assert task.name == "model@refs-pr-1"


def test_what_is_not_there(tmp_path):
    save_pretended(tmp_path / "here")
    with pytest.raises(CouplingError, match=r"the study: no checkpoint matches trained/\*"):
        tasks_of("trained/*")
    with pytest.raises(CouplingError, match=r"there is no folder \./none"):
        tasks_of("./none")
    with pytest.raises(CouplingError, match="revisions belong to models of the hub, and here is a local folder"):
        tasks_of("here", revisions="step1")
