"""What iterations have in common: towering values are taken out, and nothing is returned without its residual test."""

import pytest
import torch

from coupling.linalg.chebyshev import Filter
from coupling.linalg.lanczos import Lanczos

D, K = 480, 3


@pytest.mark.parametrize("iteration", [Filter, Lanczos])
def test_a_towering_value_is_taken_out_of_the_matrix(iteration):
    generator = torch.Generator().manual_seed(0)
    u, v = torch.linalg.qr(torch.randn(2, D, D, generator=generator, dtype=torch.float64))[0]
    values = torch.cat([torch.tensor([500.0]), torch.linspace(1, 0.01, D - 1) ** 2]).double()
    running = iteration((u * values) @ v.mT, K)
    found = running.run()
    assert running.locked.shape == (D, 1)
    assert abs(float(running.locked[:, 0] @ v[:, 0])) > 1 - 1e-12
    assert float(torch.linalg.matrix_norm(running.active, ord=2)) < 1.1
    assert torch.allclose(found.values, values[:K], rtol=1e-6)
    assert found.residuals.max() <= running.goal * values[0]


def test_vectors_that_are_wrong_are_not_returned():
    matrix = torch.diag(torch.linspace(2, 1, D, dtype=torch.float64))
    running = Filter(matrix, K)
    wrong = torch.linalg.qr(torch.randn(D, K + 6, generator=torch.Generator().manual_seed(0)))[0]
    assert running._finish(wrong) is None
    right = torch.eye(D)[:, : K + 6]
    assert torch.allclose(running._finish(right).values, matrix.diagonal()[:K])
