r"""The definitions: mismatch, coupling, chance, angles, line shape, expodistance. Pure functions of arrays.

Source: Aubry, Meng, Sugolov, Papyan, *Transformer Block Coupling and its Correlation with Generalization in LLMs*,
ICLR 2025 (arXiv 2407.07810); line shape after Gai and Zhang 2021. Chance level and excess are this project's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from coupling.choices import NORMS
from coupling.errors import CouplingError

TOKENS_AT_ONCE = 512
"""Tokens whose paths are in float64 at one time."""


def _array(values: Any) -> Float[np.ndarray, "*a"]:
    """A float64 array of an array or a torch tensor, whatever its precision and device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    return np.asarray(values, dtype=np.float64)


def _size(singular_values: Float[np.ndarray, "*a k"], norm: int) -> Float[np.ndarray, "*a"]:
    """``||S||_p``: the trace norm for p = 1, the Frobenius norm for p = 2."""
    if norm not in NORMS:
        raise CouplingError(f"norm is {norm}, but must be 1 (trace) or 2 (Frobenius)")
    return np.sum(singular_values**norm, axis=-1) ** (1 / norm)


def mismatch(
    projection: Float[np.ndarray, "*a K K"],
    singular_values: Float[np.ndarray, "*a K"],
    *,
    k: int | None = None,
    norm: int = 2,
    signed: bool = False,
) -> Float[np.ndarray, "*a"]:
    r"""How far Jacobian a is from diagonal in the top singular frames of Jacobian b.

    .. math:: m_{K,p}(J_a, J_b) = \| |U_{b,K}^T J_a V_{b,K}| - S_{a,K} \|_F / \|S_{a,K}\|_p

    The paper's formula has no absolute value, its published code has: it is kept by default.

    Args:
        projection: ``U_b^T J_a V_b``; for the swapped variant ``V_b^T J_a U_b``.
        singular_values: of ``J_a``, largest first.
        k: use the top k of the K given (default: all).
        norm: p, 1 (trace) or 2 (Frobenius).
        signed: leave the absolute value out.

    Returns:
        0 where a and b share their top singular vectors; no unit.

    Raises:
        CouplingError: if norm is neither 1 nor 2.

    Example:
        >>> import numpy as np
        >>> float(mismatch(np.diag([3.0, 4.0]), np.array([3.0, 4.0])))  # diagonal in b's frames
        0.0
    """
    projection, singular_values = _array(projection), _array(singular_values)
    size = singular_values.shape[-1] if k is None else k
    top, values = projection[..., :size, :size], singular_values[..., :size]
    difference = (top if signed else np.abs(top)) - values[..., None] * np.eye(size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.linalg.norm(difference, axis=(-2, -1)) / _size(values, norm)


@dataclass(frozen=True)
class JacobianMoments:
    """The moments of a Jacobian that determine its chance levels.

    Attributes:
        frobenius: ``||J||_F``.
        stretch: the mean of ``||J v||`` over random unit vectors v.
        shape: (m, n) of J.
        fourth: ``tr((J J^T)^2)``, the sum of the fourth powers of all singular values; only standard deviations around
            the chance levels of the calibrated measures need it.
    """

    frobenius: float
    stretch: float
    shape: tuple[int, int]
    fourth: float = math.nan

    @property
    def entry_variance(self) -> float:
        """Variance of an entry ``u^T J v`` for random unit u, v: ``||J||_F^2 / (m n)``, exactly."""
        return self.frobenius**2 / (self.shape[0] * self.shape[1])

    @property
    def entry_magnitude(self) -> float:
        r"""Mean of ``|u^T J v|``: ``E||J v||`` times ``E|u_1| = Gamma(m/2) / (sqrt(pi) Gamma((m+1)/2))``."""
        m = self.shape[0]
        return self.stretch * math.exp(gammaln(m / 2) - gammaln((m + 1) / 2)) / math.sqrt(math.pi)


def chance_mismatch(
    moments: JacobianMoments,
    singular_values: Float[np.ndarray, "K"],
    *,
    k: int | None = None,
    norm: int = 2,
    signed: bool = False,
) -> float:
    r"""The expected mismatch with Haar-random orthonormal frames in place of ``U_b, V_b``, while ``S_a`` is kept.

    With ``g = u^T J v`` for random unit u, v, the squared numerator Q has mean
    ``K^2 E g^2 - 2 E|g| sum(s) + sum(s^2)`` (without the middle term if signed), exact in its moments of g; the mean
    of its root is ``sqrt(E Q) (1 - Var Q / (8 (E Q)^2))`` to second order, with Var Q for Gaussian entries.
    The tests compare it with draws of random frames.

    Args:
        moments: of ``J_a``.
        singular_values: of ``J_a``, largest first.
        k: as in ``mismatch``.
        norm: as in ``mismatch``.
        signed: as in ``mismatch``.

    Returns:
        The chance level of m; the same for the swapped variant.
    """
    values = _array(singular_values)[: len(singular_values) if k is None else k]
    k = len(values)
    total, squares = values.sum(), (values**2).sum()
    if squares == 0:
        return float("nan")
    variance, magnitude = moments.entry_variance, moments.entry_magnitude
    mean = k * k * variance + squares
    deviation = 4 * variance * squares + 2 * (k * variance) ** 2
    if not signed:
        mean -= 2 * magnitude * total
        deviation += -4 * magnitude**2 * squares - 4 * total * magnitude * variance
    mean = max(mean, 0.0)
    if mean == 0:
        return 0.0
    root = math.sqrt(mean) * max(0.0, 1 - max(deviation, 0.0) / (8 * mean**2))
    return float(root / _size(values, norm))


def excess(
    mismatch: float | Float[np.ndarray, "*a"], chance: float | Float[np.ndarray, "*a"]
) -> Float[np.ndarray, "*a"]:
    """The share of the chance level's mismatch that is gone: ``(m_chance - m) / m_chance``.

    Args:
        mismatch: m of any variant.
        chance: the chance level of the same variant, of the same or a broadcastable shape.

    Returns:
        0 at chance, 1 where the frames are shared exactly, negative below chance; no unit. NaN where chance is 0.

    Example:
        >>> float(excess(0.45, 0.9))
        0.5
    """
    mismatch, chance = np.asarray(mismatch), np.asarray(chance)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (chance - mismatch) / chance


def haar_frame(d: int, k: int, generator: np.random.Generator) -> Float[np.ndarray, "d k"]:
    """A Haar-random orthonormal frame: QR of a Gaussian matrix, with the signs of R's diagonal moved into Q."""
    q, r = np.linalg.qr(generator.standard_normal((d, k)))
    return q * np.sign(np.diagonal(r))


def principal_angles(overlap: Float[np.ndarray, "*a K K"], *, k: int | None = None) -> Float[np.ndarray, "*a k"]:
    """Principal angles between two subspaces, in radians, smallest first.

    Args:
        overlap: ``A^T B`` of orthonormal frames A and B, (d, K) each.
        k: compare the first k columns of each (default: all).
    """
    k = overlap.shape[-1] if k is None else k
    cosines = np.linalg.svd(overlap[..., :k, :k], compute_uv=False)
    return np.arccos(np.clip(cosines, 0.0, 1.0))


def pair_mismatch(
    jacobian_a: Float[np.ndarray, "d d"],
    jacobian_b: Float[np.ndarray, "d d"],
    k: int,
    *,
    norm: int = 2,
    signed: bool = False,
    swapped: bool = False,
) -> float:
    """The mismatch of two matrices, from their full SVDs: the definition, for checking and for small cases."""
    a, b = _array(jacobian_a), _array(jacobian_b)
    values = np.linalg.svd(a, compute_uv=False)
    u, _, vh = np.linalg.svd(b)
    left, right = u[:, :k], vh.T[:, :k]
    if swapped:
        left, right = right, left
    return float(mismatch(left.T @ a @ right, values[:k], norm=norm, signed=signed))


def line_shape_score(trajectory: Float[np.ndarray, "layers n d"]) -> Float[np.ndarray, "n"]:
    r"""How straight each token's path through the residual stream is; at least 1, and 1 on a straight line.

    .. math:: \mathrm{LSS} = L / \| \sum_l u^l \|, \qquad u^l = (x^l - x^{l-1}) / \|x^l - x^{l-1}\|

    Args:
        trajectory: the residual stream from layer 0 to L.

    Returns:
        One score per token; infinite where the unit steps cancel, NaN where no step has a length. No unit. A step of
        length zero has no direction and is not counted: L is the number of steps that have one.

    Example:
        >>> import numpy as np
        >>> line_shape_score(np.arange(3.0).reshape(3, 1, 1)).tolist()  # two steps in one direction
        [1.0]
    """

    def score(part: Float[np.ndarray, "layers m d"]) -> Float[np.ndarray, "m"]:
        steps = np.diff(part, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            lengths = np.linalg.norm(steps, axis=-1, keepdims=True)
            units = np.where(lengths == 0, 0.0, steps / lengths)
            return (lengths[..., 0] != 0).sum(axis=0) / np.linalg.norm(units.sum(axis=0), axis=-1)

    return over_tokens(score, trajectory)


def expodistance(trajectory: Float[np.ndarray, "layers n d"]) -> Float[np.ndarray, "n"]:
    r"""How far each token's norm is from growing exponentially with depth; 0 when it does so exactly.

    .. math:: \mathrm{ED} = \mathrm{Var}_l(a^l) / \mathrm{Mean}_l(a^l)^2, \qquad
        a^l = \ln\|x^l\| - \ln\|x^{l-1}\|

    with the population variance (divided by L).

    Args:
        trajectory: the residual stream from layer 0 to L.

    Returns:
        One value per token, no unit; infinite or NaN where the norm does not grow at all.

    Example:
        >>> import numpy as np
        >>> float(np.round(expodistance(np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1))[0], 12))  # doubles at every block
        0.0
    """
    norms = residual_norms(trajectory)
    with np.errstate(invalid="ignore", divide="ignore"):
        growth = np.diff(np.log(norms), axis=0)
        return growth.var(axis=0) / growth.mean(axis=0) ** 2


def residual_norms(trajectory: Float[np.ndarray, "layers n d"]) -> Float[np.ndarray, "layers n"]:
    """The norm of the residual stream at every layer and token, in the units of the activations.

    Args:
        trajectory: the residual stream from layer 0 to L.

    Example:
        >>> import numpy as np
        >>> residual_norms(np.array([[[3.0, 4.0]]])).tolist()
        [[5.0]]
    """
    return over_tokens(lambda part: np.linalg.norm(part, axis=-1), trajectory)


def over_tokens(
    function: Callable[[Float[np.ndarray, "layers m d"]], Float[np.ndarray, "*k m"]],
    trajectory: Float[np.ndarray, "layers n d"],
) -> Float[np.ndarray, "*k n"]:
    """A function of each token's path, in float64, of some tokens at a time: copies of a long prompt are large.

    Args:
        function: gives a value, or several, for each token.
        trajectory: the residual stream from layer 0 to L.
    """
    layers = trajectory if hasattr(trajectory, "detach") else np.asarray(trajectory)
    starts = range(0, max(layers.shape[1], 1), TOKENS_AT_ONCE)
    parts = [function(_array(layers[:, start : start + TOKENS_AT_ONCE])) for start in starts]
    return np.concatenate(parts, axis=-1)
