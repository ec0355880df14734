"""Signals: they end a command, also where something catches their error."""

import importlib
import os
import signal
import sys
import time

import pytest

from coupling.cli import interrupts
from coupling.errors import Terminated


@pytest.mark.parametrize(("how", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_raises_its_error_and_is_remembered(how, error):
    usual = signal.getsignal(how)
    with interrupts.caught() as exit_code:
        interrupts.check()
        assert exit_code() is None
        with pytest.raises(error):
            os.kill(os.getpid(), how)
        assert exit_code() == 128 + how
        with pytest.raises(error):  # whoever caught it, it is raised again
            interrupts.check()
    assert signal.getsignal(how) is usual
    with interrupts.caught() as exit_code:
        assert exit_code() is None


def test_a_signal_that_is_ignored_stays_ignored():
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.caught() as exit_code:
            os.kill(os.getpid(), signal.SIGINT)
            assert exit_code() is None
    finally:
        signal.signal(signal.SIGINT, usual)


def _import_and_sleep(name: str) -> None:
    importlib.import_module(name)
    time.sleep(10)


@pytest.mark.parametrize(("how", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_during_an_import_takes_effect_after_it(tmp_path, monkeypatch, how, error):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"imported_{how.name.lower()}"
    (tmp_path / f"{name}.py").write_text(
        "import os, time\n"
        "try:\n"
        f"    os.kill(os.getpid(), {int(how)})\n"
        "    time.sleep(0.2)\n"
        "    finished = True\n"
        "except BaseException:\n"
        "    finished = False\n"
    )
    with interrupts.caught() as exit_code:
        with pytest.raises(error):
            _import_and_sleep(name)
        assert sys.modules[name].finished
        assert exit_code() == 128 + how
        time.sleep(5 * interrupts.AGAIN)  # it is not raised once more
    with interrupts.caught():
        __import__(name)
        time.sleep(5 * interrupts.AGAIN)


def test_a_signal_that_waits_for_an_import_is_raised_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "asked_to_end.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    with interrupts.caught() as exit_code:
        try:
            importlib.import_module("asked_to_end")

            interrupts.check()
        except KeyboardInterrupt:
            time.sleep(5 * interrupts.AGAIN)
        assert exit_code() == 130
