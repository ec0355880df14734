"""Leading singular triplets of a formed matrix by an iteration in float32, and when that is worthwhile."""

import torch
from jaxtyping import Float
from torch import Tensor

from coupling.linalg.chebyshev import Filter, block_width
from coupling.linalg.iteration import Iteration, Leading
from coupling.linalg.lanczos import Lanczos

SMALLEST_RATIO = 12
"""The matrix must be this many times as wide as the filter's block; below it a dense decomposition is as fast."""
USUAL = (1e-6, 1e6)
"""Matrices whose largest entry is between these are not scaled."""


def is_worthwhile(shape: tuple[int, int], k: int) -> bool:
    """Whether an iteration is faster than a dense decomposition of a matrix of this shape."""
    return min(shape) >= SMALLEST_RATIO * block_width(k)


def leading_triplets(
    matrix: Float[Tensor, "m n"], k: int, *, seed: int = 0, iteration: type[Iteration] | None = None
) -> Leading | None:
    r"""The k leading singular triplets of a float64 matrix, to the rounding of float32.

    Args:
        matrix: J, finite; at least ``SMALLEST_RATIO * block_width(k)`` rows and columns.
        k: the number of triplets.
        seed: seed of the random start.
        iteration: the method; by default ``Lanczos`` on a processor, and on an accelerator ``Filter``, which has fewer
            and larger steps.

    Returns:
        The triplets, with every residual ``||J^T u - s v||`` at most ``sqrt(max(m, n)) eps_32 s_1 / 2``; None where the
        iteration did not get there (a spectrum without gaps, for example).

    Example:
        >>> matrix = torch.diag(1 / torch.arange(1.0, 401, dtype=torch.float64))
        >>> [round(value, 6) for value in leading_triplets(matrix, 2).values.tolist()]
        [1.0, 0.5]
    """
    if iteration is None:
        iteration = Lanczos if matrix.device.type == "cpu" else Filter
    scale = torch.stack(torch.aminmax(matrix)).abs().max()
    if not scale > 0:
        return None
    if USUAL[0] < scale < USUAL[1]:
        return iteration(matrix, k, seed).run()
    # scaled to entries of at most 1, so that the squares neither overflow nor underflow in float32
    found = iteration(matrix / scale, k, seed).run()
    return None if found is None else Leading(found.left, found.values * scale, found.right, found.residuals * scale)
