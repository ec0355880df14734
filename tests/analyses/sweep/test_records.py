"""Records of tasks."""

import json
import shutil

import pytest

from coupling.analyses.sweep.records import MOST_KILLS, MOST_STARTS, Record, Records, is_complete, stamp_of
from coupling.analyses.sweep.study_folder import StudyFolder
from tests.tiny_checkpoints import copy_run


@pytest.fixture
def records(tmp_path):
    place = StudyFolder(tmp_path)
    place.make()
    return Records(place)


def test_a_task_that_is_measured(records, make_run):
    assert records.read("a") == Record()
    assert records.begin("a", "s1")
    assert records.read("a").state == "running"
    records.set_progress("a", 2, 4, 0.3, "image")
    assert records.progress("a") == {"prompt": 2, "prompts": 4, "fraction": 0.3, "word": "image"}
    copy_run(make_run("m", 0.9), records.folder.run("a"))
    records.end("a", measures={"x": 1.0})
    record = records.read("a")
    assert (record.state, record.attempts, record.measures, record.error) == ("done", 1, {"x": 1.0}, "")
    assert record.stamp == stamp_of(records.folder.run("a"))
    assert records.progress("a") == {}


def test_the_run_decides_what_is_done(records, make_run):
    records.begin("a", "s1")
    copy_run(make_run("m", 0.9), records.folder.run("a"))  # the driver died before it could take note
    assert is_complete(records.folder.run("a"))
    assert records.read("a").state == "done"
    records.end("a", measures={})
    shutil.rmtree(records.folder.run("a"))
    assert records.read("a").state == "waiting"
    assert records.read("a").measures is None


def test_a_task_that_fails_is_tried_again_by_the_next_start(records):
    records.begin("a", "s1")
    records.end("a", error="broken")
    assert (records.read("a").state, records.read("a").error) == ("failed", "broken")
    assert records.reset("a", retry=False).state == "waiting"
    assert records.read("a").error == ""


def test_a_task_that_kills_its_worker_is_set_aside(records):
    for count in range(1, MOST_KILLS + 1):
        assert records.begin("a", "s1")
        record = records.died("a", "s1", "its worker was ended by SIGKILL")
        assert record.kills == count
        assert record.state == ("set aside" if count == MOST_KILLS else "waiting")
    assert record.error == "it ended its worker 3 times; the last time its worker was ended by SIGKILL"
    assert records.reset("a", retry=False).state == "set aside"
    assert not records.begin("a", "s2")
    assert records.reset("a", retry=True).kills == 0
    assert records.begin("a", "s2")


def test_a_worker_that_is_ended_before_it_begins_is_not_the_tasks_fault(records):
    for _ in range(MOST_STARTS - 1):
        record = records.died("a", "s1", "its worker was ended by SIGKILL", by_signal=True)
        assert (record.state, record.kills) == ("waiting", 0)
    assert records.begin("a", "s1")
    assert records.read("a").starts == 0
    records.died("a", "s1", "its worker was ended by SIGKILL", by_signal=True)
    assert records.read("a").kills == 1
    for _ in range(MOST_STARTS):
        record = records.died("a", "s1", "its worker was ended by SIGKILL", by_signal=True)
    assert record.state == "set aside"
    assert record.error.startswith("10 workers in a row ended before they had begun it; the last time its worker was")
    assert records.reset("a", retry=True).starts == 0


def test_a_worker_that_cannot_start_is_noticed_soon(records):
    for _ in range(MOST_KILLS):
        record = records.died("a", "s1", "its worker ended with exit code 1")
    assert record.state == "set aside"


def test_a_task_that_gets_on_is_not_blamed(records):
    """Whoever ends workers at random hits a long task often, but not at the same place."""
    run = records.folder.run("a")
    run.mkdir(parents=True)
    for count in range(3 * MOST_KILLS):
        assert records.begin("a", "s1")
        (run / "parts.bin").write_bytes(bytes(100 * (count + 1)))
        assert records.died("a", "s1", "its worker was ended by SIGKILL", by_signal=True).kills == 1
    for count in range(2, MOST_KILLS + 1):
        assert records.begin("a", "s1")
        assert records.died("a", "s1", "its worker was ended by SIGKILL", by_signal=True).kills == count
    assert records.read("a").state == "set aside"


def test_an_engine_that_repeats_by_itself_is_counted(records):
    for _ in range(MOST_KILLS):
        assert records.begin("a", "s1")
    assert not records.begin("a", "s1")
    assert records.read("a").state == "set aside"


def test_a_driver_that_died_is_not_the_tasks_fault(records):
    for session in "abcdef":
        records.reset("a", retry=False)
        assert records.begin("a", session)
    assert records.read("a").kills == 0


def test_an_interruption_is_not_the_tasks_fault_either(records):
    records.begin("a", "s1")
    records.interrupted("a")
    record = records.read("a")
    assert (record.state, record.kills, record.attempts) == ("waiting", 0, 1)
    records.begin("a", "s2")
    records.end("a", error="broken")
    records.interrupted("a")
    assert records.read("a").state == "failed"


def test_an_engine_that_gives_up(records):
    records.begin("a", "s1")
    assert records.died("a", "s1", "its machine died", for_good=True).state == "set aside"


def test_a_damaged_record_is_a_new_one(records, tmp_path):
    (tmp_path / "tasks" / "a.json").write_text("{")
    assert records.read("a") == Record()
    (tmp_path / "tasks" / "a.json").write_text(json.dumps({"state": "odd", "attempts": 2, "later": 1}))
    assert records.read("a") == Record(attempts=2)
