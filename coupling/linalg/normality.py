r"""How far a Jacobian is from a normal matrix, one whose left and right singular vectors agree up to signs.

.. math:: \|J J^T - J^T J\|_F / \|J\|_F^2

It is 0 for a normal matrix (symmetric, skew, orthogonal), and at most sqrt(2).

Source: the commutator bounds Henrici's departure from normality (Henrici 1962; Elsner and Paardekooper, *On measures of
nonnormality of matrices*, 1987).
"""

import torch
from torch import Tensor

from coupling.linalg.svd import Operator
from coupling.numerics import exact_numerics

N_PROBES = 64
"""Random directions that estimate the norm where the matrix is not at hand."""


@exact_numerics()
def non_normality(operator: Operator, seed: int = 0) -> float:
    """The relative norm of the commutator of a square operator with its transpose.

    Args:
        operator: a Jacobian; a dense one is taken exactly, another by ``N_PROBES`` random directions, for which
            ``E ||C v||^2 = ||C||_F^2`` if v has independent entries of variance 1.
        seed: seed of the directions.

    Returns:
        Between 0 and sqrt(2), no unit; NaN for a matrix that is zero.

    Example:
        >>> import torch
        >>> from coupling.linalg.jacobian import DenseJacobian
        >>> non_normality(DenseJacobian(torch.diag(torch.tensor([3.0, 2.0, 1.0]))))
        0.0
    """
    matrix = getattr(operator, "wide", None)
    if matrix is not None:
        commutator, size = matrix @ matrix.mT - matrix.mT @ matrix, float((matrix**2).sum())
        norm = float(torch.linalg.matrix_norm(commutator))
    else:
        generator = torch.Generator().manual_seed(seed)
        probes = torch.randn(operator.shape[1], N_PROBES, generator=generator, dtype=torch.float64)
        forth, back = (_columns(push(probes.to(operator.dtype))) for push in (operator.matmat, operator.rmatmat))
        difference = _columns(operator.matmat(back.to(operator.dtype))) - _columns(
            operator.rmatmat(forth.to(operator.dtype))
        )
        norm, size = (float((part**2).sum() / N_PROBES) for part in (difference, forth))
        norm = norm**0.5
    return norm / size if size > 0 else float("nan")


def _columns(product: Tensor) -> Tensor:
    return product.double().cpu()
