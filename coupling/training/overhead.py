"""How much of a training's time goes into measuring, and whether another measurement may be made."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coupling.errors import CouplingError


class Overhead:
    """Counts the seconds of measurements against the seconds since training began.

    Args:
        most: the largest share of the time that measurements may take, between 0 and 1; None for no limit.
        clock: seconds, from any origin.

    Attributes:
        spent: seconds of all measurements since training began.
        last: seconds of the last measurement.

    Raises:
        CouplingError: if ``most`` is not between 0 and 1.
    """

    def __init__(self, most: float | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        if most is not None and not 0 < most <= 1:
            raise CouplingError(f"`max_overhead` is {most}, but must be a share of the time, above 0 and at most 1")
        self.most, self._clock = most, clock
        self.begin()

    def begin(self) -> None:
        """Training begins now."""
        self._began, self.spent, self.last = self._clock(), 0.0, 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens inside as a measurement."""
        started = self._clock()
        try:
            yield
        finally:
            self.last = self._clock() - started
            self.spent += self.last

    @property
    def share(self) -> float:
        """The share of the time since training began that went into measuring."""
        return self.spent / max(self._clock() - self._began, 1e-9)

    def admits(self) -> bool:
        """Whether the share stays within the limit if another measurement takes as long as the last one did."""
        if self.most is None:
            return True
        elapsed = self._clock() - self._began
        return self.spent + self.last <= self.most * (elapsed + self.last)
