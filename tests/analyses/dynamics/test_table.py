"""Runs of checkpoints as a table."""

import numpy as np
import pytest

import coupling
from coupling.analyses.correlation.measures import OF_TOKENS, measures_of
from coupling.analyses.dynamics import checkpoint_runs, dynamics_table
from coupling.errors import CouplingError
from tests.analyses.dynamics.conftest import STEPS, changed


def test_one_row_per_checkpoint_k_and_norm(study, measured):
    table = dynamics_table([study])
    assert list(table["model"].unique()) == ["small"]
    assert table.groupby(["seed", "step", "k", "norm"]).size().eq(1).all()
    assert len(table) == 2 * len(STEPS) * 2 * 2
    row = table.query("seed == 0 and step == 8 and k == 5 and norm == 1").iloc[0]
    run = changed(measured, 0.9)
    assert row["score"] == pytest.approx(coupling.score(run, 5, 1))
    assert row["chance"] == pytest.approx(coupling.chance_score(run, 5, 1))
    expected = measures_of(run)
    assert row["excess"] == pytest.approx(expected["excess K=5 p=1"])
    for column, name in zip(("line_shape_score", "expodistance", "residual_growth"), OF_TOKENS, strict=True):
        assert row[column] == pytest.approx(expected[name])


def test_rows_of_prompts_have_the_same_mean(study):
    table, by_prompt = dynamics_table([study / "runs"]), dynamics_table([study], by_prompt=True)
    assert sorted(by_prompt["prompt"].unique()) == [0, 1]
    keys = ["model", "seed", "step", "k", "norm"]
    means = by_prompt.groupby(keys)["score"].mean().reset_index()
    assert np.allclose(means["score"], table.sort_values(keys)["score"])
    assert by_prompt["line_shape_score"].nunique() == 2


def test_runs_are_in_order_of_seed_and_step_and_know_it(study):
    runs = checkpoint_runs(sorted((study / "runs").iterdir(), reverse=True))
    assert [run.attrs["step"] for run in runs] == [*STEPS, *STEPS]
    assert [run.attrs["training_seed"] for run in runs] == [0] * 4 + [1] * 4
    assert {run.attrs["training_model"] for run in runs} == {"small"}


def test_refusals(study, tmp_path):
    twice = [study / "runs" / "0-8", study / "runs" / "0-8"]
    with pytest.raises(CouplingError, match="are both runs of small, seed 0, step 8"):
        checkpoint_runs(twice)
    with pytest.raises(CouplingError, match="contains no run"):
        checkpoint_runs([tmp_path])
