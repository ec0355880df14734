"""Several small matrices factored at once, against each alone and against LAPACK's full SVD."""

import pytest
import torch

from coupling.linalg.batched import factor_dense
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.pairwise import factor


def matrices(count=4, width=48, seed=0):
    return torch.randn(count, width, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("width", "dtype"), [(48, torch.float32), (48, torch.float64), (400, torch.float32), (24, torch.float32)]
)
def test_the_triplets_are_those_of_the_full_decomposition(width, dtype):
    several = matrices(3, width).to(dtype)
    for matrix, item in zip(several, factor_dense(several, 6), strict=True):
        u, s, vh = torch.linalg.svd(matrix.double())
        assert torch.allclose(item.triplets.values, s[:6], rtol=1e-5)
        assert ((item.triplets.values - s[:6]).abs() <= item.triplets.error).all()
        assert torch.allclose(
            (u[:, :6] * item.triplets.left).sum(0).abs(), torch.ones(6, dtype=torch.float64), atol=1e-4
        )
        assert torch.allclose(
            (vh[:6].T * item.triplets.right).sum(0).abs(), torch.ones(6, dtype=torch.float64), atol=1e-4
        )
        assert item.triplets.converged
        assert item.triplets.engine == "dense"


def test_moments_and_signs_are_those_of_one_matrix_alone():
    several = matrices()
    for matrix, item in zip(several, factor_dense(several, 6, seed=3), strict=True):
        alone = factor(DenseJacobian(matrix), 6, n_compared=1, engine="dense", seed=3)
        for name in ("frobenius", "stretch", "fourth"):
            assert getattr(item.moments, name) == pytest.approx(getattr(alone.moments, name), rel=1e-5)
        assert torch.allclose(item.triplets.left, alone.triplets.left, atol=1e-4)


def test_a_matrix_that_is_not_finite_is_left_out():
    several = matrices()
    several[1, 0, 0] = torch.nan
    found = factor_dense(several, 6)
    assert found[1] is None
    assert all(found[index] is not None for index in (0, 2, 3))


def test_a_matrix_that_is_zero_has_no_values():
    several = matrices()
    several[2] = 0
    found = factor_dense(several, 6)
    assert found[2].triplets.values.tolist() == [0] * 6
    assert found[0].triplets.values[0] > 0
