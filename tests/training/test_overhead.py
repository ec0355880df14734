"""Overhead, with a clock that the test moves."""

import pytest

from coupling.errors import CouplingError
from coupling.training.overhead import Overhead


def measured(overhead, now, seconds):
    with overhead.counted():
        now[0] += seconds


def test_measurements_are_counted_against_the_time_since_training_began():
    now = [100.0]
    overhead = Overhead(clock=lambda: now[0])
    measured(overhead, now, 2.0)
    now[0] += 6.0
    measured(overhead, now, 1.0)
    assert (overhead.spent, overhead.last) == (3.0, 1.0)
    assert overhead.share == pytest.approx(3 / 9)
    assert overhead.admits()  # there is no limit
    overhead.begin()
    assert overhead.spent == 0


def test_a_measurement_is_admitted_where_the_share_would_stay_within_the_limit():
    now = [0.0]
    overhead = Overhead(0.1, clock=lambda: now[0])
    measured(overhead, now, 1.0)
    now[0] = 18.9  # with one more, 2 s of 19.9 s
    assert not overhead.admits()
    now[0] = 19.1
    assert overhead.admits()


def test_a_measurement_that_fails_is_counted():
    now = [0.0]
    overhead = Overhead(clock=lambda: now[0])

    def fails():
        now[0] += 1.0
        raise CouplingError("no")

    with pytest.raises(CouplingError), overhead.counted():
        fails()
    assert overhead.spent == 1.0


@pytest.mark.parametrize("most", [0, -0.1, 1.5, float("nan")])
def test_a_limit_that_is_no_share_is_refused(most):
    with pytest.raises(CouplingError, match="`max_overhead` is"):
        Overhead(most)
