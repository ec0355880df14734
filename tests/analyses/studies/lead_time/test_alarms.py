"""Alarms and going bad, by hand-worked cases and by pandas."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.studies.lead_time.alarms import first_alarm, severity, smoothed, standardized, went_bad
from coupling.analyses.studies.lead_time.design import BAD, BASELINE, EVERY, IN_A_ROW, SMOOTHED

STEPS = np.arange(0, 161, EVERY, dtype=float)
RANDOM = np.random.default_rng(0)


def test_the_baseline_has_mean_0_and_deviation_1():
    values = RANDOM.normal(5, 3, len(STEPS))
    z = pd.Series(standardized(STEPS, values), STEPS).loc[BASELINE[0] : BASELINE[1]]
    assert len(z) == (BASELINE[1] - BASELINE[0]) // EVERY + 1
    assert (z.mean(), z.std()) == pytest.approx((0, 1))


def test_a_constant_baseline_and_one_without_values():
    values = np.where(STEPS > 100, 2.0, 1.0)
    assert standardized(STEPS, values)[[0, -1]].tolist() == [0.0, np.inf]
    assert first_alarm(STEPS, severity(STEPS, values), 1e9) == 108.0
    assert severity(STEPS, np.full(len(STEPS), np.nan)).tolist() == [0.0] * len(STEPS)


def test_severity_is_the_highest_threshold_that_a_plain_loop_finds_an_alarm_at():
    values = np.cumsum(RANDOM.normal(size=len(STEPS)))
    values[20] = np.nan
    z, found = standardized(STEPS, values), severity(STEPS, values)
    for threshold in np.linspace(0.01, 8, 60):
        expected = np.nan
        for at in range(1, len(STEPS)):
            pair = z[at - 1 : at + 1]
            if STEPS[at - 1] > BASELINE[1] and ((pair > threshold).all() or (pair < -threshold).all()):
                expected = STEPS[at]
                break
        assert first_alarm(STEPS, found, threshold) == pytest.approx(expected, nan_ok=True)


def test_one_measurement_beyond_or_two_on_different_sides_give_no_alarm():
    values = np.where(np.arange(len(STEPS)) % 2 == 0, 1.0, -1.0)
    values[20] = 100.0
    assert IN_A_ROW == 2
    values[21], values[19] = -100.0, -100.0
    assert severity(STEPS, values).max() < 2
    values[21] = 50.0
    severe = severity(STEPS, values)
    assert int(severe.argmax()) == 21
    assert severe[21] == pytest.approx(standardized(STEPS, values)[21])


def test_a_run_goes_bad_where_pandas_says_so():
    for _ in range(20):
        rewards = 0.5 + np.cumsum(RANDOM.normal(0, 0.03, len(STEPS)))
        means = pd.Series(rewards).rolling(SMOOTHED).mean()
        bad = STEPS[(means < BAD * means.cummax()).to_numpy() & (BASELINE[1] < STEPS)]
        assert smoothed(rewards)[SMOOTHED - 1 :] == pytest.approx(means[SMOOTHED - 1 :].to_numpy())
        assert went_bad(STEPS, rewards) == pytest.approx(bad[0] if len(bad) else np.nan, nan_ok=True)
    assert np.isnan(went_bad(STEPS, np.linspace(0.1, 0.9, len(STEPS))))
