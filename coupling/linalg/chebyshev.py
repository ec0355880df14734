r"""Leading singular triplets of a formed matrix by Chebyshev-filtered subspace iteration.

Zhou, Saad, Tiago, Chelikowsky (2006): a block of vectors is multiplied by a polynomial of the Gram matrix that is small
on the unwanted part of its spectrum and grows as fast as possible beyond it, and Rayleigh-Ritz takes the best vectors
of the span. With a the square of the smallest value that the block has found so far, the polynomial is

.. math:: T_m\!\left(\tfrac{2}{a} A^T A - I\right), \qquad |T_m| \le 1 \text{ on } [0, a], \quad
    T_m(x) = \cosh(m \operatorname{arcosh} x) \text{ for } x > 1

All of the work is in thin products in float32; the last Rayleigh-Ritz step and the residuals are in float64. Where a
few values tower above the rest, a filter of useful degree would drown the others in rounding, so those triplets are
taken out of the matrix first (deflation). No result is returned that does not meet its residual test.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

EXTRA_COLUMNS = 16
"""Fewest columns of the block beyond k; the filter has to separate the k-th value from the last of the block."""
COLUMNS_STEP = 16
"""Products are fastest where the number of columns is a multiple of this (twice as fast as at odd numbers)."""
MAX_DEGREE = 12
MAX_PASSES = 8
MAX_DEGREES = 64
"""Degrees in all passes together; a spectrum that needs more is left to a dense decomposition."""
MAX_GROWTH = 1e5
"""Largest factor between the growth of wanted directions in one pass; beyond it float32 loses the slower ones."""
TOWERING = 20
"""Values that are this many times the last wanted one are taken out of the matrix."""
UNSURE = 4
"""Residuals in float32 are wrong by up to twice their goal, how much depends on the processor; from this many times the
goal on, those in float64 decide."""
SMALLEST_RATIO = 12
"""The matrix must be this many times as wide as the block; below it a dense decomposition is as fast."""


@dataclass(frozen=True)
class Leading:
    """Leading triplets in float64, and ``||J^T u - s v||`` of each; ``||J v - s u||`` is zero to rounding."""

    left: Float[Tensor, "m k"]
    values: Float[Tensor, "k"]
    right: Float[Tensor, "n k"]
    residuals: Float[Tensor, "k"]


def is_worthwhile(shape: tuple[int, int], k: int) -> bool:
    """Whether the filter is faster than a dense decomposition of a matrix of this shape."""
    return min(shape) >= SMALLEST_RATIO * block_width(k)


def block_width(k: int) -> int:
    """The number of columns of the block, at least two steps.

    Example:
        >>> block_width(1), block_width(10), block_width(20)
        (32, 32, 48)
    """
    return max(2, -(-(k + EXTRA_COLUMNS) // COLUMNS_STEP)) * COLUMNS_STEP


def leading_triplets(matrix: Float[Tensor, "m n"], k: int, *, seed: int = 0) -> Leading | None:
    r"""The k leading singular triplets of a float64 matrix, to the rounding of float32.

    Args:
        matrix: J, finite.
        k: the number of triplets; the block of ``block_width(k)`` vectors must fit ``min(m, n)``.
        seed: seed of the random start.

    Returns:
        The triplets, with every residual ``||J^T u - s v||`` at most ``sqrt(max(m, n)) eps_32 s_1 / 2``; None where the
        filter did not get there (a spectrum with more equal values than columns in the block, for example).

    Example:
        >>> matrix = torch.diag(1 / torch.arange(1.0, 201, dtype=torch.float64))
        >>> [round(value, 6) for value in leading_triplets(matrix, 2).values.tolist()]
        [1.0, 0.5]
    """
    scale = matrix.abs().max()
    if not scale > 0:
        return None
    # scaled to entries of at most 1, so that the squares neither overflow nor underflow in float32
    scaled = matrix / scale
    found = _Filter(scaled, k, seed).run()
    return None if found is None else Leading(found.left, found.values * scale, found.right, found.residuals * scale)


class _Filter:
    """The iteration on one matrix: the part of it that is not deflated, and the block of vectors."""

    def __init__(self, matrix: Float[Tensor, "m n"], k: int, seed: int) -> None:
        self.matrix, self.k = matrix, k
        self.goal = 0.5 * torch.finfo(torch.float32).eps * max(matrix.shape) ** 0.5  # relative to s_1
        self.active = matrix.float()
        self.gram: Tensor | None = None
        self.locked = matrix[0, :, None][:, :0]  # (n, 0): right vectors that were taken out of the matrix
        self.degrees = 0
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(matrix.shape[1], block_width(k), generator=generator).to(self.active)
        self.block = self._squared(start)

    def run(self) -> Leading | None:
        """Filter until the residuals in float32 say that the result is good; then look at it in float64."""
        for _ in range(MAX_PASSES):
            right, values, residuals = self._rayleigh_ritz()
            if not values[-1] > self.goal**2 * values[0]:  # the block spans all of a matrix of low rank
                return self._finish(right)
            towering = self._towering(right, values, residuals)
            if towering:
                self._deflate(right, towering)
                right, values, residuals = right[:, towering:], values[towering:], residuals[towering:]
            wanted = self.k - self.locked.shape[1]
            left_to_do = max(residuals[:wanted], default=0.0) / (self.goal * values[0])
            if left_to_do <= UNSURE and not values[0] > TOWERING * values[max(wanted - 1, 0)]:
                found = self._finish(right)
                if found is not None:
                    return found
            if not self._apply(right, values, 5 * left_to_do, wanted):
                return None
        return None

    def _rayleigh_ritz(self) -> tuple[Float[Tensor, "n w"], list[float], list[float]]:
        """Ritz vectors of the block, largest first, their values, and the residuals ``||A^T u - s v||``; in float32."""
        basis = torch.linalg.qr(self.block)[0]
        q, r = torch.linalg.qr(self.active @ basis)
        u, s, vh = torch.linalg.svd(r)
        right = basis @ vh.mT
        residual = self.active.mT @ (q @ u) - right * s
        values, norms = torch.stack([s, torch.linalg.vector_norm(residual, dim=0)]).tolist()
        return right, values, norms

    def _apply(self, right: Float[Tensor, "n w"], values: list[float], gain: float, wanted: int) -> bool:
        """One pass: the block becomes ``T_m(2 A^T A / a - I)`` times the Ritz vectors.

        Args:
            right: the Ritz vectors.
            values: their values.
            gain: the factor by which the residual of the last wanted vector should fall.
            wanted: the number of vectors that are wanted.

        Returns:
            False where the spectrum is so flat that a dense decomposition is faster.
        """
        a = values[-1] ** 2
        growth, slowest = (
            math.acosh(max(2 * value**2 / a - 1, 1 + 1e-12)) for value in (values[0], values[max(wanted - 1, 0)])
        )
        needed = math.ceil(math.acosh(max(gain, 1.0)) / slowest) + 1
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

    def _towering(self, right: Float[Tensor, "n w"], values: list[float], residuals: list[float]) -> int:
        """How many leading values are so far above the last wanted one that they hide it in float32, and are known."""
        wanted = self.k - self.locked.shape[1]
        count = 0
        while (
            count < wanted
            and values[count] > TOWERING * values[wanted - 1]
            and residuals[count] <= UNSURE * self.goal * values[count]
        ):
            count += 1
        if not count:
            return 0
        vectors = self._beside_locked(right[:, :count].double())
        images = self.matrix @ vectors
        exact = torch.linalg.vector_norm(images, dim=0)
        back = self._beside_locked(self.matrix.mT @ (images / exact))
        wrong = torch.linalg.vector_norm(back - vectors * exact, dim=0)
        return int((wrong <= self.goal * exact).cumprod(0).sum())

    def _beside_locked(self, columns: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """Columns without their part in the span of the locked vectors."""
        return columns - self.locked @ (self.locked.mT @ columns)

    def _deflate(self, right: Float[Tensor, "n w"], count: int) -> None:
        """Take the leading triplets out of the matrix, in float64."""
        self.locked = torch.linalg.qr(torch.cat([self.locked, right[:, :count].double()], 1))[0]
        self.active = (self.matrix - (self.matrix @ self.locked) @ self.locked.mT).float()
        self.gram = None

    def _finish(self, right: Float[Tensor, "n w"]) -> Leading | None:
        """Rayleigh-Ritz in float64 on what was locked and the block; None where a residual is too large."""
        basis = torch.linalg.qr(torch.cat([self.locked, right.double()], 1))[0]
        q, r = torch.linalg.qr(self.matrix @ basis)
        u, s, vh = torch.linalg.svd(r)
        left, values, vectors = q @ u[:, : self.k], s[: self.k], basis @ vh[: self.k].mT
        residuals = torch.linalg.vector_norm(self.matrix.mT @ left - vectors * values, dim=0)
        return Leading(left, values, vectors, residuals) if residuals.max() <= self.goal * values[0] else None
