"""The Chebyshev filter; what it has in common with other iterations is in test_leading.py."""

import numpy as np
import torch

from coupling.linalg.chebyshev import MAX_DEGREE, Filter, block_width


def test_the_block_is_wider_than_what_is_wanted():
    assert [block_width(k) for k in (1, 10, 16, 20)] == [32, 32, 32, 48]


def test_one_pass_multiplies_with_the_chebyshev_polynomial():
    """On a diagonal matrix every direction is multiplied by T_m(2 s^2 / a - 1), here computed by NumPy."""
    values = np.linspace(1, 0.2, 64)
    iteration = Filter(torch.diag(torch.from_numpy(values)), 4)
    right, ritz, _ = iteration.ritz()
    block = right.double().numpy()
    assert iteration.advance(right, ritz, 1e3, 4)
    degree = iteration.degrees
    assert 1 <= degree <= MAX_DEGREE
    polynomial = np.polynomial.Chebyshev.basis(degree)(2 * values**2 / ritz[-1] ** 2 - 1)
    expected = polynomial[:, None] * block
    expected /= np.linalg.norm(expected, axis=0)
    assert np.allclose(iteration.block.numpy(), expected, atol=1e-4)
