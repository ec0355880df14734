"""How far a study is."""

import json
import time

import pytest

from coupling.analyses.sweep.records import Records
from coupling.analyses.sweep.status import read_status
from coupling.analyses.sweep.study_folder import StudyFolder
from coupling.errors import CouplingError


def test_a_study_that_ended(swept):
    found = read_status(swept)
    assert found.counts == {"waiting": 0, "running": 0, "done": 2, "failed": 1, "set aside": 0}
    assert found.total == 3
    assert found.troubled == [("trained@step3", "failed", "this checkpoint is broken")]
    assert (found.driver, found.seconds, found.seconds_left) == (None, None, None)


def test_a_study_that_runs(swept):
    place = StudyFolder(swept)
    records = Records(place)
    (swept / "runs" / "trained@step2" / "run.json").unlink()
    records.begin("trained@step2", "s")
    records.set_progress("trained@step2", 2, 4, 0.5)
    assert read_status(swept).counts["running"] == 0  # no driver lives: it was interrupted
    record = records.read("trained@step1")
    began = time.time() - 30
    place.beat({"began": began, "session": "s"})
    record.ended = began + 20
    records.write("trained@step1", record)
    failed = records.read("trained@step3")
    failed.ended = began - 5
    records.write("trained@step3", failed)
    found = read_status(swept)
    (one,) = found.running
    assert (one.task, one.prompt, one.prompts, one.fraction) == ("trained@step2", 2, 4, 0.5)
    assert one.word == "prompt"
    records.set_progress("trained@step2", 2, 4, 0.5, "image")
    assert read_status(swept).running[0].word == "image"
    assert found.counts["running"] == 1
    assert [name for name, *_ in found.ended] == ["trained@step1"]
    assert found.seconds == pytest.approx(30, abs=5)
    assert found.seconds_left == pytest.approx(10, abs=2)  # 1.5 tasks in 30 s, and half a task is left
    assert json.loads(json.dumps(found.as_dict()))["running"][0]["task"] == "trained@step2"


def test_a_status_writes_nothing(swept):
    before = {path: path.stat().st_mtime_ns for path in swept.rglob("*")}
    read_status(swept)
    assert {path: path.stat().st_mtime_ns for path in swept.rglob("*")} == before


def test_another_folder(tmp_path):
    with pytest.raises(CouplingError, match="is not the folder of a study"):
        read_status(tmp_path)
