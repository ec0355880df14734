"""When a signal gives an alarm, and when a run has gone bad: one rule for all signals, as functions of arrays."""

import numpy as np
from jaxtyping import Float

from coupling.analyses.studies.lead_time.design import BAD, BASELINE, IN_A_ROW, SMOOTHED

Series = Float[np.ndarray, " measurements"]


def standardized(steps: Series, values: Series) -> Series:
    """A signal in standard deviations from its mean, both over the measurements of ``BASELINE``.

    Args:
        steps: the update of each measurement.
        values: the signal; NaN where there is no value.

    Returns:
        ``(x - mean) / sd``; where the baseline is constant, 0 at its value and otherwise infinite.

    Example:
        >>> standardized(np.array([20.0, 24.0, 28.0, 52.0]), np.array([1.0, 2.0, 3.0, 6.0])).tolist()
        [-1.0, 0.0, 1.0, 4.0]
    """
    first, last = BASELINE
    own = values[(steps >= first) & (steps <= last)]
    own = own[np.isfinite(own)]
    if len(own) < 2:
        return np.full(len(values), np.nan)
    distance, sd = values - own.mean(), own.std(ddof=1)
    if sd == 0:
        return np.where(distance == 0, 0.0, np.copysign(np.inf, distance))
    return distance / sd


def severity(steps: Series, values: Series) -> Series:
    """The largest threshold at which each measurement gives an alarm, in the baseline's standard deviations.

    It is the least distance of the last ``IN_A_ROW`` measurements, if all of them lie on one side of the mean and
    come after the baseline; otherwise 0. A measurement without a value gives none.

    Args:
        steps: the update of each measurement.
        values: the signal.

    Example:
        >>> steps = np.array([20.0, 24.0, 28.0, 52.0, 56.0, 60.0])
        >>> severity(steps, np.array([1.0, 2.0, 3.0, 6.0, 5.0, 1.0])).tolist()
        [0.0, 0.0, 0.0, 0.0, 3.0, 0.0]
    """
    z = np.where(steps > BASELINE[1], np.nan_to_num(standardized(steps, values), nan=0.0, posinf=np.inf), 0.0)
    found = np.zeros(len(z))
    for at in range(IN_A_ROW - 1, len(z)):
        last = z[at - IN_A_ROW + 1 : at + 1]
        found[at] = max(last.min(), (-last).min(), 0.0)
    return found


def first_alarm(steps: Series, severities: Series, threshold: float) -> float:
    """The update of the first measurement whose severity is above a threshold; NaN for none."""
    alarms = steps[severities > threshold]
    return float(alarms[0]) if len(alarms) else float("nan")


def smoothed(rewards: Series) -> Series:
    """The mean of the last ``SMOOTHED`` measurements up to each; NaN for the first ones."""
    means = np.full(len(rewards), np.nan)
    means[SMOOTHED - 1 :] = np.convolve(rewards, np.ones(SMOOTHED) / SMOOTHED, mode="valid")
    return means


def went_bad(steps: Series, rewards: Series) -> float:
    """The first update after the baseline at which the smoothed reward is below ``BAD`` times its peak so far.

    Args:
        steps: the update of each measurement.
        rewards: the held-out reward.

    Returns:
        The update; NaN if there is none.

    Example:
        >>> went_bad(np.array([44.0, 48.0, 52.0, 56.0, 60.0]), np.array([0.5, 0.5, 0.5, 0.4, 0.3]))
        60.0
    """
    means = smoothed(rewards)
    peaks = np.fmax.accumulate(means)
    bad = steps[(means < BAD * peaks) & (steps > BASELINE[1])]
    return float(bad[0]) if len(bad) else float("nan")
