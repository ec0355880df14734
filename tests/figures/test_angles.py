"""The picture angles: principal angles between subspaces, computed again by SciPy."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.angles import chance_angle, subspace_angle


def test_angles_are_those_of_the_subspaces(run, decompositions):
    table = subspace_angle(run, "left", k=5, prompt=0)
    between = subspace_angles(decompositions[1][0][:, :5], decompositions[4][0][:, :5])
    assert table[1, 4] == pytest.approx(np.degrees(np.arccos(np.sqrt((np.cos(between) ** 2).mean()))), abs=0.05)
    assert np.isnan(table.diagonal()).all()


def test_chance_is_marked_on_the_bar(run):
    bar = figures.angles(run, k=5).axes[-1]
    (marked,) = [line.get_ydata()[0] for line in bar.lines if line.get_linewidth() == 2.5]
    assert marked == pytest.approx(np.degrees(np.arccos(np.sqrt(5 / 128))))


def test_chance_is_that_of_random_subspaces():
    rng = np.random.default_rng(0)
    frames = [np.linalg.qr(rng.normal(size=(20, 3)))[0] for _ in range(2000)]
    squared_cosines = [((first.T @ second) ** 2).sum() / 3 for first, second in pairwise(frames)]
    assert np.degrees(np.arccos(np.sqrt(np.mean(squared_cosines)))) == pytest.approx(chance_angle(3, 20), abs=0.3)


def test_runs_that_compare_tokens_are_refused(token_run):
    with pytest.raises(CouplingError, match=r"picture angles compares blocks.*kind='depth'"):
        figures.angles(token_run)
