"""Departure from normality: hand-worked cases, and an operator against its dense matrix."""

import numpy as np
import pytest
import torch

from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.normality import non_normality
from tests.helpers import make_ids, make_model


def of(matrix):
    return non_normality(DenseJacobian(torch.as_tensor(matrix, dtype=torch.float64)))


def test_normal_matrices_have_none():
    skew = np.array([[0.0, 2.0], [-2.0, 0.0]])
    orthogonal = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    for matrix in (np.diag([3.0, -1.0]), skew, orthogonal):
        assert of(matrix) == pytest.approx(0, abs=1e-12)


def test_a_nilpotent_matrix_has_the_most():
    """J = e1 e2^T: J J^T - J^T J = diag(1, -1), and ||J||^2 = 1."""
    assert of([[0.0, 1.0], [0.0, 0.0]]) == pytest.approx(np.sqrt(2))


def test_zero_is_not_defined():
    assert np.isnan(of(np.zeros((3, 3))))


def test_a_block_s_operator_is_estimated():
    import coupling

    jacobian = coupling.record(make_model("gpt2"), {"input_ids": make_ids()}).jacobian(1, 10)
    exact = of(jacobian.to_dense().double())
    assert non_normality(jacobian) == pytest.approx(exact, rel=0.15)
