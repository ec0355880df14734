"""Signals: they end a command, also where something catches their error."""

import os
import signal

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
