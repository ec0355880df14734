"""Turning points, on curves whose turns are known."""

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.dynamics import dynamics_table, turning_points
from coupling.analyses.dynamics.turning import at_k_and_norm
from coupling.errors import CouplingError

STEPS = [0, 1, 10, 100, 1000]


def table_of(curves, steps=STEPS, **columns):
    """A table of curves by (seed, prompt)."""
    rows = [
        {"model": "a", "seed": seed, "prompt": prompt, "step": step, "excess": value} | columns
        for (seed, prompt), curve in curves.items()
        for step, value in zip(steps, curve, strict=True)
    ]
    return pd.DataFrame(rows)


def test_rise_peak_and_plateau_of_one_curve():
    (row,) = turning_points(table_of({(0, 0): [0.0, 0.0, 0.5, 0.3, 0.31]})).to_dict("records")
    middle = np.expm1((np.log1p(1) + np.log1p(10)) / 2)
    assert (row["steepest_rise"], row["peak"], row["plateau"]) == (pytest.approx(middle), 10, 100)
    assert np.isnan(row["peak_low"])  # one seed and one prompt


def test_a_curve_that_only_falls_has_no_rise():
    (row,) = turning_points(table_of({(0, 0): [0.5, 0.4, 0.3, 0.2, 0.1]})).to_dict("records")
    assert np.isnan(row["steepest_rise"])
    assert (row["peak"], row["plateau"]) == (0, 1000)


def test_the_interval_is_that_of_the_seeds_drawn_with_replacement():
    early, late = [0.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 3.0]
    row = turning_points(table_of({(0, 0): early, (1, 0): late}), tolerance=0.01, resamples=2000).iloc[0]
    # The mean of both, late twice, and early twice: a plateau at 1000, 1000 and 1.
    assert (row["plateau"], row["plateau_low"], row["plateau_high"]) == (1000, 1, 1000)
    same = turning_points(table_of({(0, 0): early, (1, 0): early})).iloc[0]
    assert same["plateau_low"] == same["plateau_high"] == 1


def test_prompts_are_resampled_as_well_and_the_draws_are_repeatable():
    rng = np.random.default_rng(0)
    curves = {(seed, prompt): rng.normal(size=5).tolist() for seed in range(2) for prompt in range(3)}
    first, second = (turning_points(table_of(curves), resamples=50) for _ in range(2))
    assert first.equals(second)
    assert first["peak_low"].iloc[0] < first["peak_high"].iloc[0]


def test_a_table_of_runs(study):
    points = turning_points(dynamics_table([study], by_prompt=True), k=3, resamples=20)
    assert points["plateau"].tolist() == [8]
    assert 1 < points["steepest_rise"].iloc[0] < 8
    low, high = points[["steepest_rise_low", "steepest_rise_high"]].iloc[0]
    assert low == high == pytest.approx(points["steepest_rise"].iloc[0])


def test_refusals():
    table = table_of({(0, 0): [0.0] * 5}, k=5, norm=2)
    with pytest.raises(CouplingError, match="lacks the column score"):
        turning_points(table, "score")
    with pytest.raises(CouplingError, match="no rows with K = 7, but with 5"):
        at_k_and_norm(table, k=7)
    with pytest.raises(CouplingError, match="different checkpoints or prompts"):
        turning_points(pd.concat([table, table.assign(seed=1).iloc[:-1]]))
