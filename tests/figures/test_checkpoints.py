"""The picture checkpoints."""

import numpy as np
import pytest

from coupling import figures
from coupling.errors import CouplingError


def at(run, step, factor=1.0, model="small", seed=0):
    placed = run.copy()
    placed["mismatch"] = run["mismatch"] * factor
    placed.attrs |= {"step": step, "training_model": model, "training_seed": seed}
    return placed


def test_matrices_of_the_chosen_steps_side_by_side(run):
    runs = [at(run, step, 1 - 0.1 * index) for index, step in enumerate((0, 10, 100))]
    figure = figures.checkpoints(runs, steps=[100, 0], k=3, norm=1)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == ["step 0", "step 100"]
    expected = 1 - runs[2].mismatch.sel(k=3, norm=1).mean("prompt").values
    shown = np.asarray(drawn[1].images[0].get_array())
    off = ~np.eye(len(expected), dtype=bool)
    assert np.allclose(shown[off], expected[off])
    assert drawn[0].images[0].get_clim() == drawn[1].images[0].get_clim()


def test_one_row_per_model_and_seed(run):
    runs = [at(run, step, seed=seed) for seed in (0, 1) for step in range(10)]
    figure = figures.checkpoints(runs)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn[:6]] == [f"step {step}" for step in (0, 2, 4, 5, 7, 9)]
    assert len(drawn) == 12
    assert "small, seed 1" in drawn[6].get_ylabel()


def test_refusals(run, token_run):
    runs = [at(run, 0), at(run, 10)]
    with pytest.raises(CouplingError, match="no run of small at step 5; its runs are of the steps 0, 10"):
        figures.checkpoints(runs, steps=[5])
    with pytest.raises(CouplingError, match="share no training step"):
        figures.checkpoints([at(run, 0, model="a"), at(run, 10, model="b")])
    with pytest.raises(CouplingError, match="no training step"):
        figures.checkpoints([run], steps=[0])
    with pytest.raises(CouplingError, match="compares blocks"):
        figures.checkpoints(token_run)
