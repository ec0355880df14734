"""One task, measured in this process."""

import json

import pytest

import coupling
from coupling.analyses.sweep.inputs import prompts_as_json
from coupling.analyses.sweep.records import Records
from coupling.analyses.sweep.study_folder import StudyFolder
from coupling.analyses.sweep.tasks import Task
from coupling.analyses.sweep.work import run_task
from coupling.models.prompts import bundled_prompts
from coupling.run_files import SUMMARY
from tests.tiny_checkpoints import save_tiny
from tests.vision import save_vit

PROMPTS = ["a b c", "d e f g", "h a"]


@pytest.fixture
def place(tmp_path):
    model = save_tiny(tmp_path / "tiny")
    place = StudyFolder(tmp_path / "study")
    place.make()
    task = Task("tiny", "tiny", "", None, str(model), on_hub=False)
    prompts = {"texts": PROMPTS, "source": "texts", "conversations": None}
    place.write({"declared": [], "settings": {"k": [2, 3]}, "prompts": prompts, "tasks": [task.as_dict()]})
    return place


def test_a_task_is_what_analyze_measures(place, tmp_path):
    assert run_task(place.folder, "tiny", "s", 1) == "done"
    alone = coupling.analyze(str(tmp_path / "tiny"), PROMPTS, (2, 3), out=tmp_path / "alone")
    assert coupling.open_run(place.run("tiny")).identical(alone)
    record = Records(place).read("tiny")
    assert record.measures["coupling K=3 p=2"] == pytest.approx(coupling.score(alone), abs=1e-12)
    assert record.seconds > 0


def test_a_task_of_images_says_so(tmp_path, monkeypatch):
    model = save_vit(tmp_path / "vit")
    place = StudyFolder(tmp_path / "study")
    place.make()
    task = Task("vit", "vit", "", None, model, on_hub=False)
    prompts = prompts_as_json(bundled_prompts().limited(2))
    place.write({"declared": [], "settings": {"k": [2]}, "prompts": prompts, "tasks": [task.as_dict()]})
    said = []
    monkeypatch.setattr("coupling.analyses.sweep.work.PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(Records, "set_progress", lambda self, *arguments: said.append(arguments))
    assert run_task(place.folder, "vit", "s", 1) == "done"
    assert said[-1] == ("vit", 2, 2, 1.0, "image")


def test_a_task_goes_on_prompt_by_prompt(place, monkeypatch):
    def interrupted(self, name, prompt, prompts, fraction, word):
        if prompt == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("coupling.analyses.sweep.work.PROGRESS_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Records, "set_progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_task(place.folder, "tiny", "s", 1)
    assert (place.run("tiny") / "parts.bin").exists()
    assert run_task(place.folder, "tiny", "s2", 1) == "done"
    timings = json.loads((place.run("tiny") / SUMMARY).read_text())["timings"]
    assert timings["prompt_seconds"].count(None) == 1


def test_an_error_is_recorded_on_one_line(place, tmp_path, monkeypatch):
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"x")
    assert run_task(place.folder, "tiny", "s", 1) == "failed"
    error = Records(place).read("tiny").error
    assert "truncated or corrupt" in error
    assert "\n" not in error

    def explode(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("coupling.pipeline.analyze", explode)
    assert run_task(place.folder, "tiny", "s2", 1) == "failed"
    assert Records(place).read("tiny").error == "unexpected RuntimeError: two lines"


def test_a_task_that_was_set_aside_is_not_begun(place):
    for _ in range(3):
        Records(place).begin("tiny", "s")
    assert run_task(place.folder, "tiny", "s", 1) == "set aside"
