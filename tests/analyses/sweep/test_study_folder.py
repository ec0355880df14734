"""The folder of a study."""

import json
import multiprocessing
import os
import time

import pytest

from coupling.analyses.sweep.runs import is_study
from coupling.analyses.sweep.study_folder import (
    DRIVER,
    StudyFolder,
    check_same,
    prepare,
)
from coupling.errors import CouplingError
from tests.tiny_checkpoints import kill

CONTENT = {
    "declared": [],
    "settings": {"k": [5]},
    "prompts": {"texts": ["a"], "source": "texts", "conversations": None},
    "tasks": [],
}

BEAT = {"began": 0.0, "session": "s"}


@pytest.fixture
def place(tmp_path):
    place = StudyFolder(tmp_path / "study")
    place.make()
    place.write(CONTENT)
    return place


def test_a_study_is_found_by_its_file(place, tmp_path):
    assert is_study(place.folder)
    assert not is_study(tmp_path)
    assert place.tasks() == []
    with pytest.raises(CouplingError, match=r"is not the folder of a study: it contains no study\.json"):
        StudyFolder(tmp_path).content()


def test_other_files_are_not_touched(tmp_path, place):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(CouplingError, match="contains other files"):
        prepare(StudyFolder(tmp_path / "thesis"))
    assert prepare(place) == CONTENT
    assert prepare(StudyFolder(tmp_path / "new")) == {}
    begun = StudyFolder(tmp_path / "begun")  # an earlier start ended before it wrote the study
    begun.make()
    assert prepare(begun) == {}


def test_a_study_keeps_its_settings_and_prompts(place):
    check_same(place, CONTENT, CONTENT | {"settings": {"k": (5,)}})
    with pytest.raises(CouplingError, match=r"differs in k \(k: \[5\] there, \[7\] now\); give the same settings"):
        check_same(place, CONTENT, CONTENT | {"settings": {"k": [7]}})
    with pytest.raises(CouplingError, match="differs in prompts; "):
        check_same(place, CONTENT, CONTENT | {"prompts": CONTENT["prompts"] | {"texts": ["b"]}})
    images = {"settings": {"k": [5]}, "images": {"digest": "1"}}
    with pytest.raises(CouplingError, match="differs in images, prompts; "):
        check_same(place, CONTENT, images)
    with pytest.raises(CouplingError, match="differs in images; "):
        check_same(place, images, images | {"images": {"digest": "2"}})


def _hold(folder, held):
    place = StudyFolder(folder)
    with place.lock():
        place.beat(BEAT)
        held.set()
        time.sleep(600)


def test_there_is_one_driver_and_a_dead_one_is_none(place):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(place.folder, held))
    process.start()
    assert held.wait(60)
    with (
        pytest.raises(CouplingError, match=rf"another coupling sweep works on .*\(process {process.pid} on "),
        place.lock(),
    ):
        pass
    assert place.driver()["pid"] == process.pid
    kill(process.pid)
    process.join()
    assert place.driver() is None
    with place.lock():
        place.beat(BEAT)
        assert place.driver()["pid"] == os.getpid()
    assert not (place.folder / DRIVER).exists()


def test_a_driver_on_another_machine_lives_as_long_as_it_says_so(place):
    place.beat(BEAT)
    content = json.loads((place.folder / DRIVER).read_text())
    for age, alive in ((1.0, True), (60.0, False)):
        (place.folder / DRIVER).write_text(json.dumps(content | {"host": "other", "beat": time.time() - age}))
        assert (place.driver() is not None) is alive
