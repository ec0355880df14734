r"""Leading singular triplets of a formed matrix by block Lanczos iteration on its Gram matrix.

Golub and Underwood (1977): the block Krylov space of :math:`A^T A` is built up block by block, each orthogonal to all
before it, and Rayleigh-Ritz takes the best vectors of the whole of it. Of all methods that multiply with the matrix it
needs the fewest products, less than half of those of ``coupling.linalg.chebyshev`` for spectra of random weights.
Between the products there are many small steps, which suit a processor.

A block is at least as wide as the number of triplets that are wanted, so that no value is missed that occurs several
times.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from coupling.linalg.iteration import MAX_PASSES, UNSURE, Iteration

EXTRA_VECTORS = 6
"""Ritz vectors beyond k that the last step in float64 chooses from."""
COLUMNS_STEP = 16
"""Products with fewer columns than this take as long."""
FIRST_STEPS, LATER_STEPS = 6, 6
"""Blocks before the vectors are looked at for the first time, and most blocks until they are looked at again."""
ACCELERATION = 0.7
"""Residuals fall faster and faster: the share of blocks that are needed of those that the last rate says."""
MARGIN = 2
"""The factor by which the residuals should fall below what is needed."""
VANISHED = 1e-5
"""Directions of a new block that are this short, relative to the block before it was made orthogonal, are rounding."""
LARGEST_SHARE = 0.75
"""A basis of more than this share of the dimensions costs as much as a dense decomposition."""


def block_columns(k: int) -> int:
    """The number of columns of a block.

    Example:
        >>> block_columns(10), block_columns(20)
        (16, 32)
    """
    return -(-(k + EXTRA_VECTORS) // COLUMNS_STEP) * COLUMNS_STEP


class Lanczos(Iteration):
    """The basis of the Krylov space, and the Gram matrix on it."""

    def __init__(self, matrix: Float[Tensor, "m n"], k: int, seed: int = 0) -> None:
        super().__init__(matrix, k, seed)
        self.unclean: Tensor | None = None
        self.least = -1.0  # the squares of small values are lost in the rounding of those of large ones
        self.width = block_columns(k)
        blocks = FIRST_STEPS + (MAX_PASSES - 1) * LATER_STEPS
        self.most = min(int(LARGEST_SHARE * min(matrix.shape)) // self.width, blocks) * self.width
        self.basis = self.active.new_empty(self.most, matrix.shape[1])  # one vector in each row
        self.projected = self.active.new_zeros(self.most, self.most)
        self._start(self.basis[:0].mT)
        self._extend(FIRST_STEPS)

    def restart(self) -> None:
        """Nothing of the basis is left."""
        self.size = 0

    def ritz(self) -> tuple[Float[Tensor, "n w"], list[float], list[float]]:
        """Rayleigh-Ritz on the basis; the residuals are known from the block that would come next."""
        count = self.k - self.locked.shape[1] + EXTRA_VECTORS
        if self.unclean is not None:
            return self._cleaned(self.unclean, count)
        squares, mixing = torch.linalg.eigh(self.projected[: self.size, : self.size])
        values, mixing = squares[-count:].flip(0).clamp_min(0).sqrt(), mixing[:, -count:].flip(1)
        # A^T A Q = Q T + Q_next R E^T, so the residual of a vector Q y is Q_next R y_last
        residuals = torch.linalg.vector_norm(self.factor @ mixing[-self.width :], dim=0) / values.clamp_min(1e-30)
        return self.basis[: self.size].mT @ mixing, values.tolist(), residuals.tolist()

    def advance(self, right: Float[Tensor, "n w"], values: list[float], gain: float, wanted: int) -> bool:
        """Extend the basis by as many blocks as the residuals seem to need."""
        if not self.size:
            self._start(right)
            return self._extend(FIRST_STEPS)
        if gain <= UNSURE:
            if gain > 1 and self.unclean is None and self._extend(1):
                return True
            self.unclean, again = right, self.unclean is None  # float64 shows rounding that the residuals do not
            return again
        self.seen.append((self.size // self.width, math.log(MARGIN * gain)))
        steps = LATER_STEPS
        if len(self.seen) > 1:
            (before, former), (now, left) = self.seen[-2:]
            rate = (former - left) / (now - before)
            if rate > 0:
                steps = math.ceil(ACCELERATION * left / rate)
        return self._extend(max(1, min(steps, LATER_STEPS)))

    def _start(self, columns: Float[Tensor, "n w"]) -> None:
        """An orthonormal first block: some columns, and random ones beside them."""
        columns = columns[:, : self.width].to(self.active)
        missing = self.width - columns.shape[1]
        columns = torch.cat([columns, self.active.mT @ (self.active @ self._random(missing))], 1)
        self.transposed = self.active.mT.contiguous()  # both products are faster with rows of contiguous numbers
        self.next = torch.linalg.qr(columns)[0].mT
        self.size = 0
        self.unclean = None
        self.seen: list[tuple[int, float]] = []

    def _cleaned(
        self, right: Float[Tensor, "n w"], count: int
    ) -> tuple[Float[Tensor, "n w"], list[float], list[float]]:
        """Rayleigh-Ritz in float64 on vectors and their products with the Gram matrix."""
        wide = right.double()
        both = self._beside_locked(torch.cat([wide, self.matrix.mT @ (self.matrix @ wide)], 1))
        basis = torch.linalg.qr(both)[0]
        q, r = torch.linalg.qr(self.matrix @ basis)
        u, values, vh = torch.linalg.svd(r)
        right, values, left = basis @ vh[:count].mT, values[:count], q @ u[:, :count]
        residuals = torch.linalg.vector_norm(self.matrix.mT @ left - right * values, dim=0)
        return right, values.tolist(), residuals.tolist()

    def _random(self, columns: int) -> Float[Tensor, "n columns"]:
        """Random columns of length 1, nearly."""
        n = self.active.shape[1]
        return (torch.randn(n, columns, generator=self.generator) / n**0.5).to(self.active)

    def _extend(self, steps: int) -> bool:
        """Add some blocks; False where the basis has no room for one."""
        if self.size + self.width > self.most:
            return False
        for _ in range(min(steps, (self.most - self.size) // self.width)):
            first, self.size = self.size, self.size + self.width
            self.basis[first : self.size] = self.next
            known = self.basis[: self.size]
            image = (self.next @ self.active.mT) @ self.transposed.mT
            along = image @ known.mT
            self.projected[first : self.size, : self.size] = along
            self.projected[: self.size, first : self.size] = along.mT
            q, self.factor = torch.linalg.qr((image - along @ known).mT)
            vanished = self.factor.diagonal().abs() <= VANISHED * torch.linalg.matrix_norm(along)
            if vanished.any():  # what is left of these directions is rounding; others take their place
                q[:, vanished] = self._random(int(vanished.sum()))
                q = torch.linalg.qr(q - known.mT @ (known @ q))[0]
            # once more, for what rounding has left of what is known already
            self.next = torch.linalg.qr(q - known.mT @ (known @ q))[0].mT
        return True
