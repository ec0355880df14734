"""What results say: areas, lost peaks, intervals over seeds, and tables that follow from the files alone."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from coupling.analyses.studies.off_policy.design import planned
from coupling.analyses.studies.off_policy.results import (
    area,
    by_objective,
    by_run,
    interval,
    read_curves,
    write_results,
)
from coupling.analyses.studies.off_policy.runs import run


def curve(objective, seed, rewards, steps=None, ended="finished"):
    steps = np.arange(len(rewards)) * 60.0 if steps is None else steps
    labels = {"condition": "4 bits", "objective": objective, "seed": seed, "ended": ended}
    return pd.DataFrame({"step": steps, "held_out_reward": rewards, "ess": 0.5}).assign(**labels)


def test_the_area_is_the_mean_from_update_60_on():
    assert area(np.array([0.0, 60, 120, 300]), np.array([9.0, 1, 3, 0])) == pytest.approx((2 * 60 + 1.5 * 180) / 240)
    assert np.isnan(area(np.array([0.0, 60.0]), np.array([1.0, 1.0])))


def test_a_lost_peak_and_a_run_that_diverged():
    kept, lost = [0.3, 0.6, 0.6, 0.6, 0.5, 0.4], [0.3, 0.6, 0.6, 0.6, 0.2, 0.0]
    diverged = curve("DAPO 0.2", 2, [0.3, 0.6], ended="diverged: step 61")
    runs = by_run(pd.concat([curve("P3O, batch", 0, kept), curve("P3O, batch", 1, lost), diverged]), steps=300)
    assert runs["lost"].tolist() == [False, True, True]
    assert runs["peak"].tolist()[:2] == pytest.approx([0.6, 0.6])
    assert runs["end"].tolist()[:2] == pytest.approx([0.5, 0.8 / 3])
    assert runs["area"].tolist()[2] == pytest.approx(0.6 / 2 * 10 / 240)  # 0 from the next measurement on


def test_the_interval_is_that_of_scipy_s_bootstrap():
    values = np.array([0.41, 0.5, 0.52, 0.6, 0.48])
    judge = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert interval(values) == pytest.approx(tuple(judge), abs=0.004)
    assert np.isnan(interval(values[:1])).all()


def test_differences_are_seed_by_seed():
    curves = [curve("P3O, batch", seed, [0.1 * seed] * 6) for seed in (0, 1, 2)]
    curves += [curve("DAPO 0.4", seed, [0.1 * seed + 0.2] * 6) for seed in (1, 2)]
    table = by_objective(by_run(pd.concat(curves), steps=300)).set_index("objective")
    row = table.loc["DAPO 0.4"]
    assert (row["seeds"], row["pairs"]) == (2, 2)
    assert [row[name] for name in ("difference", "difference_low", "difference_high")] == pytest.approx([0.2] * 3)
    assert table.loc["P3O, batch", "area"] == pytest.approx(0.1)
    assert np.isnan(table.loc["P3O, batch", "difference"])


def test_tables_and_picture_follow_from_the_files(made, tmp_path):
    plans, out = planned(), tmp_path / "rows"
    out.mkdir()
    assert write_results(plans, out) == "0 of 100 planned runs are finished"
    for plan in plans[:6]:
        run(plan, out)
    assert write_results(plans, out).startswith("6 of 100 planned runs are finished\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "off-policy-runs.csv",
        "off-policy.csv",
        "off-policy.png",
        "rows",
    ]
    runs = pd.read_csv(tmp_path / "off-policy-runs.csv")
    assert len(runs) == 6
    assert runs["area"].tolist()[:2] == [0.1, 0.1]
    assert len(read_curves(plans, out)) == 6 * 31
