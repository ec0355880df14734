r"""Leading singular triplets of a formed matrix by Chebyshev-filtered subspace iteration.

Zhou, Saad, Tiago, Chelikowsky (2006): a block of vectors is multiplied by a polynomial of the Gram matrix that is small
on the unwanted part of its spectrum and grows as fast as possible beyond it, and Rayleigh-Ritz takes the best vectors
of the span. With a the square of the smallest value that the block has found so far, the polynomial is

.. math:: T_m\!\left(\tfrac{2}{a} A^T A - I\right), \qquad |T_m| \le 1 \text{ on } [0, a], \quad
    T_m(x) = \cosh(m \operatorname{arcosh} x) \text{ for } x > 1

Nearly all of the work is in products with blocks of 32 and more columns, which suits accelerators.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from coupling.linalg.iteration import Iteration

EXTRA_COLUMNS = 16
"""Fewest columns of the block beyond k; the filter has to separate the k-th value from the last of the block."""
COLUMNS_STEP = 16
"""Products are fastest where the number of columns is a multiple of this (twice as fast as at odd numbers)."""
MARGIN = 5
"""The factor by which the residuals should fall below what is needed."""
MAX_DEGREE = 12
MAX_DEGREES = 64
"""Degrees in all passes together; a spectrum that needs more is left to a dense decomposition."""
MAX_GROWTH = 1e5
"""Largest factor between the growth of wanted directions in one pass; beyond it float32 loses the slower ones."""


def block_width(k: int) -> int:
    """The number of columns of the block, at least two steps.

    Example:
        >>> block_width(1), block_width(10), block_width(20)
        (32, 32, 48)
    """
    return max(2, -(-(k + EXTRA_COLUMNS) // COLUMNS_STEP)) * COLUMNS_STEP


class Filter(Iteration):
    """The block of vectors, and its passes through the filter."""

    def __init__(self, matrix: Float[Tensor, "m n"], k: int, seed: int = 0) -> None:
        super().__init__(matrix, k, seed)
        self.gram: Tensor | None = None
        self.degrees = 0
        start = torch.randn(matrix.shape[1], block_width(k), generator=self.generator).to(self.active)
        self.block = self._squared(start)

    def ritz(self) -> tuple[Float[Tensor, "n w"], list[float], list[float]]:
        """Ritz vectors of the block, largest first, their values, and the residuals ``||A^T u - s v||``; in float32."""
        basis = torch.linalg.qr(self.block)[0]
        q, r = torch.linalg.qr(self.active @ basis)
        u, s, vh = torch.linalg.svd(r)
        right = basis @ vh.mT
        residual = self.active.mT @ (q @ u) - right * s
        values, norms = torch.stack([s, torch.linalg.vector_norm(residual, dim=0)]).tolist()
        return right, values, norms

    def restart(self) -> None:
        """The Gram matrix is another one."""
        self.gram = None

    def advance(self, right: Float[Tensor, "n w"], values: list[float], gain: float, wanted: int) -> bool:
        """One pass: the block becomes ``T_m(2 A^T A / a - I)`` times the Ritz vectors; False for a flat spectrum."""
        a = values[-1] ** 2
        growth, slowest = (
            math.acosh(max(2 * value**2 / a - 1, 1 + 1e-12)) for value in (values[0], values[max(wanted - 1, 0)])
        )
        needed = math.ceil(math.acosh(max(MARGIN * gain, 1.0)) / slowest) + 1
        if self.degrees + needed > MAX_DEGREES:
            return False
        degree = max(1, min(needed, MAX_DEGREE, int(math.acosh(MAX_GROWTH) / growth)))
        self.degrees += degree
        if self.gram is None and needed * right.shape[1] > right.shape[0]:
            self.gram = self.active.mT @ self.active  # as dear as this many products, and it halves each of them
        # T_0 = 1, T_1 = x, T_{i+1} = 2 x T_i - T_{i-1}
        before, current = right, self._squared(right).mul_(2 / a).sub_(right)
        for _ in range(degree - 1):
            before, current = current, self._squared(current).mul_(4 / a).sub_(current, alpha=2).sub_(before)
        self.block = current / torch.linalg.vector_norm(current, dim=0).clamp_min(1e-30)
        return True

    def _squared(self, columns: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """``A^T A`` times columns."""
        return self.active.mT @ (self.active @ columns) if self.gram is None else self.gram @ columns
