"""The memory meter and the clock."""

import time

import numpy as np

from benchmarks.memory import PeakMemory, clock_of


def test_memory_that_was_freed_again_counts():
    with PeakMemory("cpu") as memory:
        array = np.ones(2**23)  # 64 MB
        time.sleep(0.05)
        del array
    assert 50e6 < memory.peak < 500e6


def test_the_clock_runs():
    clock = clock_of("cpu")
    before = clock()
    time.sleep(0.01)
    assert 0.01 <= clock() - before < 10


def test_processor_time_does_not_count_waiting():
    clock = clock_of("cpu", processor=True)
    before = clock()
    time.sleep(0.2)
    assert clock() - before < 0.1
