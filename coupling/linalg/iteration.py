r"""What iterations for the leading singular triplets of a formed matrix have in common.

An iteration works in float32 and says how good its vectors are; the last Rayleigh-Ritz step and the residuals are in
float64. Where a few values tower above the rest, the products would drown the others in rounding, so those triplets are
taken out of the matrix first (deflation). No result is returned that does not meet its residual test.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MAX_PASSES = 8
"""Times that the vectors are looked at."""
TOWERING = 20
"""Values that are this many times the last wanted one are taken out of the matrix."""
UNSURE = 4
"""Residuals in float32 are wrong by up to twice their goal, how much depends on the processor; from this many times the
goal on, those in float64 decide."""


@dataclass(frozen=True)
class Leading:
    """Leading triplets in float64, and ``||J^T u - s v||`` of each; ``||J v - s u||`` is zero to rounding."""

    left: Float[Tensor, "m k"]
    values: Float[Tensor, "k"]
    right: Float[Tensor, "n k"]
    residuals: Float[Tensor, "k"]


class Iteration(ABC):
    """An iteration on one matrix, and the part of it that is not deflated.

    Args:
        matrix: J in float64, with entries whose squares are in the range of float32.
        k: the number of triplets.
        seed: seed of the random start.

    Attributes:
        goal: the residual that is good enough, relative to s_1.
        least: values that are smaller than this, relative to the largest, are zero; negative where that cannot be said.
        active: in float32, what has not been taken out of the matrix.
        locked: the right vectors that were; (n, l).
    """

    def __init__(self, matrix: Float[Tensor, "m n"], k: int, seed: int = 0) -> None:
        self.matrix, self.k = matrix, k
        self.generator = torch.Generator().manual_seed(seed)
        self.goal = 0.5 * torch.finfo(torch.float32).eps * max(matrix.shape) ** 0.5
        self.least = self.goal**2
        self.active = matrix.float()
        self.locked = matrix[0, :, None][:, :0]

    @abstractmethod
    def ritz(self) -> tuple[Float[Tensor, "n w"], list[float], list[float]]:
        """Ritz vectors, largest first, more than are wanted, with values and residuals ``||A^T u - s v||``; float32."""

    @abstractmethod
    def advance(self, right: Float[Tensor, "n w"], values: list[float], gain: float, wanted: int) -> bool:
        """Go on.

        Args:
            right: the Ritz vectors.
            values: their values.
            gain: the factor by which the largest residual of the wanted vectors has to fall.
            wanted: the number of vectors that are wanted.

        Returns:
            False where a dense decomposition is faster.
        """

    @abstractmethod
    def restart(self) -> None:
        """Forget what is known of the matrix, because it has changed."""

    def run(self) -> Leading | None:
        """Go on until the residuals in float32 say that the result is good; then look at it in float64."""
        for _ in range(MAX_PASSES):
            right, values, residuals = self.ritz()
            if not values[-1] > self.least * values[0]:  # the vectors span all of a matrix of low rank
                return self._finish(right)
            towering = self._towering(right, values, residuals)
            if count := towering.shape[1]:
                self._deflate(towering)
                right, values, residuals = right[:, count:], values[count:], residuals[count:]
            wanted = self.k - self.locked.shape[1]
            left_to_do = max(residuals[:wanted], default=0.0) / (self.goal * values[0])
            if left_to_do <= UNSURE and not values[0] > TOWERING * values[max(wanted - 1, 0)]:
                found = self._finish(right)
                if found is not None:
                    return found
            if not self.advance(right, values, left_to_do, wanted):
                return None
        return None

    def _towering(
        self, right: Float[Tensor, "n w"], values: list[float], residuals: list[float]
    ) -> Float[Tensor, "n l"]:
        """Vectors, in float64, of values that are known and so far above the last wanted one that they hide it."""
        wanted = self.k - self.locked.shape[1]
        count = 0
        while (
            count < wanted
            and values[count] > TOWERING * values[wanted - 1]
            and residuals[count] <= UNSURE * self.goal * values[count]
        ):
            count += 1
        # one step in float64 takes the rounding of float32 out of them
        vectors = self._beside_locked(right[:, :count].double())
        vectors = self._beside_locked(self.matrix.mT @ (self.matrix @ vectors))
        vectors = vectors / torch.linalg.vector_norm(vectors, dim=0).clamp_min(1e-300)
        images = self.matrix @ vectors
        exact = torch.linalg.vector_norm(images, dim=0)
        back = self._beside_locked(self.matrix.mT @ (images / exact))
        wrong = torch.linalg.vector_norm(back - vectors * exact, dim=0)
        return vectors[:, : int((wrong <= self.goal * exact).cumprod(0).sum())]

    def _beside_locked(self, columns: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """Columns without their part in the span of the locked vectors."""
        return columns - self.locked @ (self.locked.mT @ columns)

    def _deflate(self, vectors: Float[Tensor, "n l"]) -> None:
        """Take leading triplets out of the matrix, in float64."""
        self.locked = torch.linalg.qr(torch.cat([self.locked, vectors], 1))[0]
        self.active = (self.matrix - (self.matrix @ self.locked) @ self.locked.mT).float()
        self.restart()

    def _finish(self, right: Float[Tensor, "n w"]) -> Leading | None:
        """Rayleigh-Ritz in float64 on what was locked and the block; None where a residual is too large."""
        basis = torch.linalg.qr(torch.cat([self.locked, right.double()], 1))[0]
        q, r = torch.linalg.qr(self.matrix @ basis)
        u, s, vh = torch.linalg.svd(r)
        left, values, vectors = q @ u[:, : self.k], s[: self.k], basis @ vh[: self.k].mT
        residuals = torch.linalg.vector_norm(self.matrix.mT @ left - vectors * values, dim=0)
        return Leading(left, values, vectors, residuals) if residuals.max() <= self.goal * values[0] else None
