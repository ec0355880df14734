"""The mismatch of all pairs from full SVDs: the naive way, which in float64 is also the reference."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coupling import metrics


def with_full_svd(jacobian: Float[Tensor, "d d"], k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A Jacobian with its top left singular vectors, singular values and right singular vectors."""
    u, s, vh = torch.linalg.svd(jacobian)
    return jacobian, u[:, :k], s[:k], vh[:k].mT


def mismatch_of_pairs(
    factored: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
) -> Float[np.ndarray, "block other_block"]:
    """The mismatch of all ordered pairs at p = 2, from what ``with_full_svd`` returned for each block."""
    result = np.empty((len(factored), len(factored)))
    for a, (jacobian, _, values, _) in enumerate(factored):
        for b, (_, left, _, right) in enumerate(factored):
            # U_b^T J_a V_b
            projection = (left.mT @ jacobian @ right).cpu().double().numpy()
            result[a, b] = metrics.mismatch(projection, values.cpu().double().numpy())
    return result
