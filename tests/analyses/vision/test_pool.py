"""Trainings in worker processes."""

import pytest

from coupling.analyses.vision.design import Training
from coupling.analyses.vision.pool import data_of, train_all
from coupling.analyses.vision.training import RECORD
from coupling.errors import CouplingError


def test_where_the_data_come_from(tmp_path):
    assert data_of("digits").name == "digits"
    with pytest.raises(CouplingError, match="there is no CIFAR-10"):
        data_of(str(tmp_path))


def test_a_training_that_fails_is_one_line(tmp_path):
    training = Training(0.0, 0.0, 2, 1, 0)
    done = []
    with pytest.raises(CouplingError, match="there is no CIFAR-10"):
        train_all([training], tmp_path / "models", str(tmp_path), 1, done.append)
    with pytest.raises(CouplingError, match="a training ended early: its worker ended with exit code 1"):
        train_all([Training(0.0, 0.0, -1, 1, 0)], tmp_path / "models", "digits", 1, done.append)  # -1 blocks
    assert done == []
    assert not (tmp_path / "models" / training.name / RECORD).exists()
