r"""Calibrated measures: how much of a Jacobian lies in another's frames, and where. Pure functions of arrays.

Each has a chance level with a closed form: what it would be with Haar-random orthonormal frames in place of
``U_b, V_b`` (or of the other subspace), and the standard deviation around it. Both are this project's own; the moments
of random frames are those of the orthogonal group (Collins and Sniady, *Integration with respect to the Haar measure*,
2006). The tests compare every one with draws of random frames.

``P = U_b^T J_a V_b`` is the projection, ``S_a`` has the top K singular values of ``J_a``, (m, n).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from coupling.metrics import JacobianMoments

Pairs = Float[np.ndarray, "*a"]
Projection = Float[np.ndarray, "*a K K"]
Values = Float[np.ndarray, "*a K"]


@dataclass(frozen=True)
class Null:
    """A measure under random frames.

    Attributes:
        mean: the chance level.
        sd: the standard deviation around it.
    """

    mean: float
    sd: float


# The measures


def aligned_energy(projection: Projection, singular_values: Values, *, k: int | None = None) -> Pairs:
    r"""The share of the energy of a's top K directions that b's frames capture.

    .. math:: \|U_{b,K}^T J_a V_{b,K}\|_F^2 / \|S_{a,K}\|_F^2

    Args:
        projection: ``U_b^T J_a V_b``.
        singular_values: of ``J_a``, largest first.
        k: use the top k of the K given (default: all).

    Returns:
        Between 0 and 1; 1 exactly where b spans the top subspaces of a, in whatever order or rotation. No unit.

    Example:
        >>> import numpy as np
        >>> float(aligned_energy(np.diag([3.0, 0.0]), np.array([3.0, 4.0])))
        0.36
    """
    top, values = _top(projection, singular_values, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sum(top**2, axis=(-2, -1)) / np.sum(values**2, axis=-1)


def diagonal_share(projection: Projection, *, k: int | None = None) -> Pairs:
    r"""The share of the captured energy that lies on the diagonal: vector i of b meets vector i of b alone.

    .. math:: \sum_i P_{ii}^2 / \|P\|_F^2

    Args:
        projection: ``P = U_b^T J_a V_b``.
        k: as in ``aligned_energy``.

    Returns:
        Between 0 and 1; 1 where b's frames diagonalize a, with whatever signs. NaN where nothing is captured. No unit.

    Example:
        >>> import numpy as np
        >>> float(diagonal_share(np.array([[3.0, 1.0], [1.0, -3.0]])))
        0.9
    """
    top = projection if k is None else projection[..., :k, :k]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sum(_diagonal(top) ** 2, axis=-1) / np.sum(top**2, axis=(-2, -1))


def signed_diagonal(projection: Projection, singular_values: Values, *, k: int | None = None) -> Pairs:
    r"""The diagonal with its signs, relative to what it is at most: does a act in the same sense as b?

    .. math:: \mathrm{tr}(U_{b,K}^T J_a V_{b,K}) / \mathrm{tr}(S_{a,K})

    Args:
        projection: ``U_b^T J_a V_b``.
        singular_values: of ``J_a``, largest first.
        k: as in ``aligned_energy``.

    Returns:
        Between -1 and 1; 1 for identical frames, -1 where all left vectors have the other sign. No unit.
    """
    top, values = _top(projection, singular_values, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _diagonal(top).sum(axis=-1) / values.sum(axis=-1)


def absolute_diagonal(projection: Projection, singular_values: Values, *, k: int | None = None) -> Pairs:
    r"""As ``signed_diagonal`` without the signs: ``sum_i |P_ii| / tr(S_a)``, between 0 and 1."""
    top, values = _top(projection, singular_values, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(_diagonal(top)).sum(axis=-1) / values.sum(axis=-1)


def subspace_overlap(overlap: Projection, *, k: int | None = None) -> Pairs:
    r"""The mean squared cosine of the principal angles between two subspaces.

    .. math:: \|A^T B\|_F^2 / K

    Args:
        overlap: ``A^T B`` of orthonormal frames A and B, (d, K) each.
        k: compare the first k columns of each (default: all).

    Returns:
        Between 0 and 1; 1 for the same subspace, in whatever basis. No unit.

    Example:
        >>> import numpy as np
        >>> float(subspace_overlap(np.eye(4)[:2] @ np.eye(4)[:, 1:3]))  # one of two directions is shared
        0.5
    """
    top = overlap if k is None else overlap[..., :k, :k]
    return np.sum(top**2, axis=(-2, -1)) / top.shape[-1]


# Their chance levels


def null(measure: str, moments: JacobianMoments, singular_values: Values, k: int) -> Null:
    """The chance level of a measure.

    Args:
        measure: a name of ``coupling.choices.CALIBRATED``.
        moments: of ``J_a``.
        singular_values: of ``J_a``, largest first.
        k: K.

    Returns:
        NaN for a Jacobian that is zero.
    """
    if not singular_values[0] > 0:
        return Null(math.nan, math.nan)
    if measure.endswith("overlap"):
        return chance_overlap(moments.shape[0 if measure.startswith("left") else 1], k)
    if measure == "diagonal_share":
        return chance_diagonal_share(moments, k)
    formulas = {
        "aligned_energy": chance_aligned_energy,
        "signed_diagonal": chance_signed_diagonal,
        "absolute_diagonal": chance_absolute_diagonal,
    }
    return formulas[measure](moments, singular_values, k=k)


def chance_aligned_energy(moments: JacobianMoments, singular_values: Values, *, k: int | None = None) -> Null:
    r"""``E ||P||_F^2 = K^2 ||J||_F^2 / (m n)``, and its variance, both exact in the Jacobian's moments.

    With projectors Q and R of rank K in place of ``V_b V_b^T`` and ``U_b U_b^T``, ``||P||_F^2 = tr(Q J^T R J)``. Its
    second moment follows from ``E Q_ij Q_kl = alpha d_ij d_kl + beta (d_ik d_jl + d_il d_jk)``.

    Args:
        moments: of ``J_a``, the fourth one included.
        singular_values: of ``J_a``, largest first.
        k: as in ``aligned_energy``.
    """
    values = singular_values[: len(singular_values) if k is None else k]
    total = float(np.sum(values**2))
    if total == 0:
        return Null(math.nan, math.nan)
    k = len(values)
    mean = k * k * moments.entry_variance
    second, _ = _fourth_moments(moments, k)
    return Null(mean / total, math.sqrt(max(second - mean**2, 0.0)) / total)


def chance_diagonal_share(moments: JacobianMoments, k: int) -> Null:
    r"""``1 / K`` exactly, whatever the Jacobian: any entry of P is as large as any other.

    P has the distribution of ``O_1 P O_2`` for random rotations, which gives the second moment of the share exactly
    where ``rho = tr((P P^T)^2) / ||P||_F^4`` is known. Its mean is taken as the quotient of two exact means.

    Args:
        moments: of ``J_a``, the fourth one included.
        k: K.
    """
    if k == 1:
        return Null(1.0, 0.0)
    if moments.frobenius == 0:
        return Null(math.nan, math.nan)
    squared, spread = _fourth_moments(moments, k)
    different, crossed = _gram_moments(squared, spread, k)
    second = ((k + 4) * different + 4 * crossed) / ((k + 2) * squared)  # of sum_i P_ii^2, relative to ||P||_F^4
    return Null(1 / k, math.sqrt(max(second - 1 / k**2, 0.0)))


def chance_signed_diagonal(moments: JacobianMoments, singular_values: Values, *, k: int | None = None) -> Null:
    r"""0, with variance ``K ||J||_F^2 / (m n tr(S)^2)``, exactly: entries of the diagonal are uncorrelated."""
    values = singular_values[: len(singular_values) if k is None else k]
    total = float(np.sum(values))
    return Null(0.0, math.sqrt(len(values) * moments.entry_variance) / total) if total > 0 else Null(math.nan, math.nan)


def chance_absolute_diagonal(moments: JacobianMoments, singular_values: Values, *, k: int | None = None) -> Null:
    r"""``K E|g| / tr(S)`` for ``g = u^T J v``, with a variance to second order.

    The covariance of two entries' absolute values is taken as that of a common scale:
    ``(E|g|)^2 / 4 (E[P_11^2 P_22^2] / (E g^2)^2 - 1)``, with exact moments.
    """
    values = singular_values[: len(singular_values) if k is None else k]
    total, k = float(np.sum(values)), len(values)
    if total == 0:
        return Null(math.nan, math.nan)
    magnitude, square = moments.entry_magnitude, moments.entry_variance
    variance = k * (square - magnitude**2)
    if k > 1 and square > 0:
        different, crossed = _gram_moments(*_fourth_moments(moments, k), k)
        both = ((k + 1) * different - 2 * crossed) / (k * (k - 1) * (k + 2))  # E[P_11^2 P_22^2]
        variance += k * (k - 1) * magnitude**2 / 4 * (both / square**2 - 1)
    return Null(k * magnitude / total, math.sqrt(max(variance, 0.0)) / total)


def chance_overlap(d: int, k: int) -> Null:
    r"""``K / d``, with variance ``2 (d - K)^2 / (d^2 (d - 1) (d + 2))``, both exact."""
    return Null(k / d, math.sqrt(2 / ((d - 1) * (d + 2))) * (d - k) / d if d > 1 else 0.0)


def _fourth_moments(moments: JacobianMoments, k: int) -> tuple[float, float]:
    """``E ||P||_F^4`` and ``E tr((P P^T)^2)`` for random frames, exact in ``||J||_F^2`` and ``tr((J J^T)^2)``."""
    trace, squares = moments.frobenius**2, moments.fourth
    (alpha_m, beta_m), (alpha_n, beta_n) = (_projector_moments(size, k) for size in moments.shape)
    # of M = J^T R J: E (tr M)^2 and E tr M^2
    trace_squared = alpha_m * trace**2 + 2 * beta_m * squares
    of_square = alpha_m * squares + beta_m * (squares + trace**2)
    # and of Q M Q, whose trace is ||P||_F^2
    return alpha_n * trace_squared + 2 * beta_n * of_square, alpha_n * of_square + beta_n * (of_square + trace_squared)


def _gram_moments(squared: float, spread: float, k: int) -> tuple[float, float]:
    """``E[W_11 W_22]`` and ``E[W_12^2]`` of ``W = P^T P``, given ``E (tr W)^2`` and ``E tr W^2``."""
    scale = k * (k - 1) * (k + 2)
    return ((k + 1) * squared - 2 * spread) / scale, (k * spread - squared) / scale


def _projector_moments(d: int, k: int) -> tuple[float, float]:
    """Alpha and beta of ``E Q_ij Q_kl`` for a random projector Q of rank k in d dimensions."""
    if d == 1:
        return 1.0, 0.0
    scale = d * (d - 1) * (d + 2)
    return k * (k * (d + 1) - 2) / scale, k * (d - k) / scale


def _top(projection: Projection, singular_values: Values, k: int | None) -> tuple[Projection, Values]:
    k = singular_values.shape[-1] if k is None else k
    return projection[..., :k, :k], singular_values[..., :k]


def _diagonal(projection: Projection) -> Float[np.ndarray, "*a K"]:
    return np.diagonal(projection, axis1=-2, axis2=-1)
