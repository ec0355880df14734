"""Worker processes as the driver sees them."""

import os
import signal
from queue import SimpleQueue

import pytest

from coupling.analyses.sweep import processes
from coupling.analyses.sweep.processes import Worker, device_environment, thread_environment
from tests.tiny_checkpoints import is_alive


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """A worker that is a line of shell."""

    def make(line: str, **environment):
        monkeypatch.setattr(processes, "COMMAND", ("sh", "-c", line))
        events = SimpleQueue()
        return Worker(3, tmp_path / "log", events, environment), events

    return make


def test_answers_and_the_end(shell):
    worker, events = shell("read line; echo $line; echo $TOLD >&2", TOLD="heard")
    worker.ask({"do": "this"})
    assert events.get(timeout=30) == (worker, {"do": "this"})
    assert events.get(timeout=30) == (worker, None)
    assert worker.cause_of_death() == "its worker ended with exit code 0 (heard)"
    worker.ask({"do": "more"})  # too late, and no error: the event has said so


def test_how_a_worker_died(shell):
    worker, events = shell("echo bad device >&2; kill -ABRT $$")
    assert events.get(timeout=30) == (worker, None)
    assert worker.cause_of_death() == "its worker was ended by SIGABRT (bad device)"
    worker, events = shell("kill -KILL $$")
    assert events.get(timeout=30) == (worker, None)
    assert worker.cause_of_death() == "its worker was ended by SIGKILL, as the system does when memory runs out"


def test_a_worker_is_ended_and_waited_for(shell):
    worker, _ = shell("sleep 600")
    assert os.getpgid(worker.pid) != os.getpgid(0)  # Ctrl-C does not reach it
    worker.kill()
    assert not is_alive(worker.pid)
    assert worker._process.returncode == -signal.SIGKILL


def test_threads_and_devices(monkeypatch):
    assert thread_environment(3)["OMP_NUM_THREADS"] == "3"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device_environment(1, 0) == {}
    assert device_environment(1, 2) == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [device_environment(number, 2)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["4", "6", "4"]
