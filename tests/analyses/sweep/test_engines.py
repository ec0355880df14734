"""The engine of one machine."""

import pytest

from coupling.analyses.sweep.engines import Ended, LocalEngine
from coupling.analyses.sweep.study_folder import StudyFolder
from tests.tiny_checkpoints import is_alive


@pytest.fixture
def engine(swept):
    for step, behavior in ((1, "ok"), (2, "kill"), (3, "sleep 600")):
        (swept.parent / "trained" / f"step{step}" / "behavior").write_text(behavior)
    engine = LocalEngine(StudyFolder(swept), "s", workers=1, threads=1)
    yield engine
    engine.close()


def wait(engine):
    for _ in range(600):
        ended = engine.wait(0.1)
        if ended:
            return ended
    raise AssertionError("nothing ended")


def test_a_worker_is_kept_and_a_dead_one_is_replaced(engine):
    one, two, _ = engine.folder.tasks()
    (engine.folder.run(two.name) / "run.json").unlink()
    assert engine.has_room()
    engine.submit(one)
    assert not engine.has_room()
    assert wait(engine) == [Ended(one.name)]
    first = engine._workers[0].pid
    engine.submit(one)
    assert wait(engine) == [Ended(one.name)]
    assert engine._workers[0].pid == first
    engine.submit(two)
    (ended,) = wait(engine)
    assert ended.task == two.name
    assert "SIGKILL" in ended.died
    assert ended.by_signal
    assert engine.has_room()
    engine.submit(one)
    assert wait(engine) == [Ended(one.name)]
    assert engine._workers[0].pid != first


def test_closing_ends_the_workers(engine):
    *_, sleeper = engine.folder.tasks()
    engine.submit(sleeper)
    pid = engine._workers[0].pid
    assert engine.wait(0.1) == []
    engine.close()
    assert not is_alive(pid)
