"""How much memory and time a piece of code needs."""

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Callable

import psutil
import torch


class PeakMemory:
    """A context manager that finds the most memory in use above that at its start.

    On a GPU the allocator counts; on a CPU the resident memory of the process is sampled every few milliseconds.

    Attributes:
        peak: bytes; known after the context.

    Example:
        >>> with PeakMemory("cpu") as memory:
        ...     ones = torch.ones(2**24)
        >>> memory.peak >= 0
        True
    """

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._process = psutil.Process()
        self.peak = 0

    def __enter__(self) -> "PeakMemory":
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
            return self
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # return freed memory first, where the C library can
            ctypes.CDLL(None).malloc_trim(0)
        self._start = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._process.memory_info().rss - self._start)

    def __exit__(self, *_: object) -> None:
        if self._cuda:
            self.peak = torch.cuda.max_memory_allocated() - self._start
        else:
            self._stop.set()
            self._thread.join()


Clock = Callable[[], float]
"""Returns a time in seconds."""


def clock_of(device: str, *, processor: bool = False) -> Clock:
    """A clock that waits for all work on a device.

    Args:
        device: the device.
        processor: count the processor time of this process instead of the time on the wall: other processes on the
            machine change it less. Of several threads it is the sum, so it is meant for one.
    """
    if device.startswith("cuda"):

        def synchronized() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return synchronized
    return time.process_time if processor else time.perf_counter
