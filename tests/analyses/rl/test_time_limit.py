"""A time limit interrupts what hangs, and leaves nothing behind."""

import signal
import threading
import time

import pytest

from coupling import CouplingError
from coupling.analyses.rl.time_limit import TimeLimitError, time_limit


def test_code_within_the_limit_is_not_disturbed():
    former = signal.getsignal(signal.SIGUSR1)
    with time_limit(30):
        value = sum(range(10))
    with time_limit(None):
        value += 1
    assert value == 46
    assert signal.getsignal(signal.SIGUSR1) == former


@pytest.mark.parametrize("hang", [lambda: time.sleep(60), lambda: [None for _ in iter(int, 1)]])
def test_what_hangs_is_interrupted(hang):
    former, threads = signal.getsignal(signal.SIGUSR1), threading.active_count()
    began = time.perf_counter()
    with pytest.raises(TimeLimitError), time_limit(0.2):
        hang()
    assert time.perf_counter() - began < 20
    assert signal.getsignal(signal.SIGUSR1) == former
    assert threading.active_count() == threads


def test_code_that_catches_everything_once_is_interrupted_again(monkeypatch):
    monkeypatch.setattr("coupling.analyses.rl.time_limit.AGAIN", 0.1)
    caught = []

    def stubborn():
        while True:
            try:
                time.sleep(60)
            except BaseException:
                caught.append(1)
                if len(caught) == 2:
                    raise

    with pytest.raises(TimeLimitError), time_limit(0.1):
        stubborn()


def test_another_thread_is_refused():
    errors = []

    def run():
        try:
            with time_limit(1):
                pass
        except CouplingError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]
