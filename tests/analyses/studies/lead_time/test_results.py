"""Thresholds, alarms and lead times from made-up results in which one signal is early and the others know nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from coupling.analyses.studies.lead_time.design import COUPLING, HEALTHY, HELD_OUT, RIVALS, SIGNALS, planned
from coupling.analyses.studies.lead_time.results import (
    ALLOWED,
    alarms,
    by_run,
    by_signal,
    group_of,
    read_curves,
    separation,
    severities,
    thresholds,
    write_results,
)


@pytest.fixture
def curves(results) -> pd.DataFrame:
    return read_curves(planned(), results)


def test_runs_that_went_bad(curves):
    runs = by_run(curves)
    assert len(runs) == 18
    bad = runs[runs["bad"].notna()]
    assert set(bad["fault"]) == {"rate", "temperature", "reward"}
    assert set(bad["bad"]) == {100.0}  # the mean of three falls from 0.5 to 0.37 with the first low one
    assert bad["end"].to_numpy() == pytest.approx(0.1, abs=0.01)


def test_so_many_healthy_runs_give_an_alarm_as_are_allowed(curves):
    runs, found = by_run(curves), severities(curves)
    for allowed in ALLOWED:
        given = alarms(found, runs, allowed)
        healthy = given[given["fault"] == HEALTHY].groupby("signal")["alarm"].count()
        assert set(healthy) == {allowed}
    assert (thresholds(found)[1] <= thresholds(found)[0]).all()


def test_the_lead_of_the_signal_that_falls_twenty_updates_before_the_reward(curves):
    given = alarms(severities(curves), by_run(curves), 0)
    leads = given[(given["signal"] == "excess") & given["fault"].isin(["rate", "temperature", "reward"])]
    assert leads["alarm"].tolist() == [84.0] * 9  # the second measurement in a row
    assert leads["lead"].tolist() == [16.0] * 9
    own = given[(given["signal"] == HELD_OUT) & given["fault"].isin(["rate", "temperature", "reward"])]
    assert own["lead"].median() == -4.0  # the second of the low ones; noise gives a few alarms before


def test_one_row_per_signal_counts_all_runs(curves):
    table = by_signal(curves)
    assert len(table) == len(SIGNALS) * len(ALLOWED)
    assert (table["before"] + table["late"] + table["none"] == table["bad"]).all()
    assert set(table["bad"]) == {9}
    assert set(table["sound"]) == {3}
    row = table.set_index(["signal", "allowed"]).loc[("excess", 0)]
    assert (row["before"], row["median_lead"], row["separation"], row["group"]) == (9, 16.0, 1.0, "coupling")
    assert {group_of(name) for name in RIVALS} == {"rival"}
    assert {group_of(name) for name in COUPLING} == {"coupling"}
    assert group_of(HELD_OUT) == "held out"


def test_separation_is_the_statistic_of_mann_and_whitney(curves):
    runs, found = by_run(curves), severities(curves)
    for signal in ("ess", "excess", "expodistance"):
        groups: dict[bool, list[float]] = {True: [], False: []}
        for (fault, _), part in found.groupby(["fault", "seed"]):
            if fault in ("rate", "temperature", "reward"):
                groups[True].append(part[part["step"] < 100][signal].max())
            elif fault == HEALTHY:
                groups[False].append(part[signal].max())
        judge = mannwhitneyu(groups[True], groups[False]).statistic / (len(groups[True]) * len(groups[False]))
        assert separation(found, runs, signal) == pytest.approx(judge)


def test_tables_and_pictures_follow_from_the_files(results, curves, tmp_path):
    assert write_results(planned(), results).startswith("18 of 18 planned runs are finished\n")
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    tables = {"lead-time.csv", "lead-time-runs.csv", "lead-time-alarms.csv"}
    assert names == tables | {"lead-time.png", "lead-time-rewards.png"}
    written = pd.read_csv(tmp_path / "lead-time.csv")
    pd.testing.assert_frame_equal(written, by_signal(curves).round(4), check_dtype=False)


def test_without_results_nothing_is_written(tmp_path):
    out = tmp_path / "rows"
    out.mkdir()
    assert write_results(planned(), out) == "0 of 18 planned runs are finished"
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_kl_and_the_gradient_s_norm_are_compared_in_logarithms(curves):
    doubled = curves.assign(kl=curves["kl"] * 2, ess=curves["ess"] * 2)
    before, after = severities(curves), severities(doubled)
    assert np.allclose(before["kl"], after["kl"])
    squared = severities(curves.assign(kl=curves["kl"] ** 2))
    assert np.allclose(before["kl"], squared["kl"])
