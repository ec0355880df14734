r"""Compare a group of Jacobians: the singular triplets of each, and each in the singular frames of every other.

For every ordered pair (a, b) the comparison needs ``U_b^T J_a V_b`` and, for the swapped variant, ``V_b^T J_a U_b``.
Both come from one product of ``J_a`` with the frames of all b side by side, so the cost is one wide product for each a
instead of two narrow ones for each pair.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from coupling import alignment, metrics
from coupling.choices import CALIBRATED, CHANCE, DEFAULT_TOL, NORMS, SD, VARIANTS, Engine
from coupling.linalg.jacobian import BlockJacobian, DenseJacobian
from coupling.linalg.svd import SingularTriplets, choose_engine, top_singular_triplets
from coupling.numerics import exact_numerics

N_PROBES = 64
"""Random directions that estimate the moments of a Jacobian, which determine its chance level."""
SIDES = ("left", "right")
"""The frames of a Jacobian."""
_WITHOUT_VALUES = ("left_angle", "right_angle", "left_overlap", "right_overlap", "diagonal_share")
"""What is not relative to the singular values of a, so that a Jacobian that is zero does not make it NaN by itself."""
KEPT_MEMORY = 2**30
"""Bytes of dense Jacobians that are kept for the comparison; beyond it products go through the block again."""


Projection = tuple[np.ndarray, np.ndarray]
"""``U_b^T J V_b`` and ``V_b^T J U_b`` of one Jacobian in the frames of several b, each (b, K, K)."""
Projected = Iterable[Projection]


@dataclass(frozen=True)
class FactoredJacobian:
    """A Jacobian with its top singular triplets and the moments that determine its chance level.

    Attributes:
        operator: the Jacobian, dense or as an operator; None where only its frames are kept.
        triplets: its top singular triplets.
        moments: what its chance level depends on.
    """

    operator: BlockJacobian | DenseJacobian | None
    triplets: SingularTriplets
    moments: metrics.JacobianMoments


@exact_numerics()
def factor(
    jacobian: BlockJacobian | DenseJacobian,
    k: int,
    *,
    n_compared: int,
    engine: Engine = "auto",
    tol: float = DEFAULT_TOL,
    seed: int = 0,
) -> FactoredJacobian:
    """Top singular triplets of one Jacobian, which will be compared with ``n_compared`` others.

    Args:
        jacobian: the Jacobian, (d, d).
        k: number of top singular vectors.
        n_compared: how many Jacobians it will be compared with; it decides which engine is cheaper.
        engine: see ``top_singular_triplets``.
        tol: see ``top_singular_triplets``.
        seed: seed of every random draw.

    Raises:
        CouplingError: if the Jacobian is not finite.
    """
    engine = engine_for(jacobian.shape, k, n_compared, engine)
    operator: BlockJacobian | DenseJacobian = jacobian
    if engine == "dense" and isinstance(jacobian, BlockJacobian):
        operator = DenseJacobian(jacobian.to_dense())
    with operator.keeping_wide() if isinstance(operator, DenseJacobian) else nullcontext():
        triplets = top_singular_triplets(operator, k, engine=engine, tol=tol, seed=seed)
        moments = _moments(operator, triplets, seed)
    # Keep the dense matrix if those of the whole group fit in memory, else the operator that can repeat its products.
    size = operator.shape[0] * operator.shape[1] * operator.dtype.itemsize
    return FactoredJacobian(operator if size * n_compared <= KEPT_MEMORY else jacobian, triplets, moments)


def engine_for(shape: tuple[int, int], k: int, n_compared: int, engine: Engine = "auto") -> Engine:
    """The engine of a Jacobian that will be compared with ``n_compared`` others."""
    if engine != "auto":
        return engine
    # The comparison will push the 2 K frame vectors of every other Jacobian through this one, and N_PROBES more.
    return choose_engine(shape, k, extra_columns=2 * n_compared * k + N_PROBES)


@lru_cache(maxsize=4)
def probes_of(width: int, seed: int) -> Float[torch.Tensor, "width probes"]:
    """Random unit vectors, the same for all Jacobians of a width."""
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(width, N_PROBES, generator=generator, dtype=torch.float64)
    return probes / torch.linalg.vector_norm(probes, dim=0)


def _moments(operator: BlockJacobian | DenseJacobian, triplets: SingularTriplets, seed: int) -> metrics.JacobianMoments:
    images = operator.matmat(probes_of(operator.shape[1], seed)).double().cpu()
    stretches = torch.linalg.vector_norm(images, dim=0)
    if isinstance(operator, DenseJacobian):
        frobenius = float(torch.linalg.matrix_norm(operator.wide))
    else:  # E ||J v||^2 = ||J||_F^2 / d for random unit vectors v
        frobenius = float(torch.sqrt((stretches**2).mean() * operator.shape[1]))
    # tr((J J^T)^2): the known triplets exactly, and of the rest R by pairs of probes, for which
    # E (v^T R^T R w)^2 = tr((R R^T)^2) / d^2
    rest = images - triplets.left @ (triplets.left.mT @ images)
    products = (rest.mT @ rest)[*torch.triu_indices(N_PROBES, N_PROBES, 1)]
    fourth = float((triplets.values**4).sum() + (products**2).mean() * operator.shape[1] ** 2)
    return metrics.JacobianMoments(frobenius, float(stretches.mean()), operator.shape, fourth)


@exact_numerics()
def compare(
    a: Sequence[FactoredJacobian],
    b: Sequence[FactoredJacobian],
    ks: Sequence[int],
    *,
    projections: bool = False,
    projected: Projected | None = None,
) -> dict[str, np.ndarray]:
    """Every Jacobian of a in the singular frames of every Jacobian of b.

    A Jacobian that is exactly zero (a block that adds nothing) has no singular frames: every comparison with it is NaN,
    as a and as b alike, so that scores and their chance levels leave the same pairs out.

    Args:
        a: Jacobians whose singular values the mismatch is relative to.
        b: Jacobians that provide the frames.
        ks: numbers of top singular vectors, ascending.
        projections: also return ``U_b^T J_a V_b`` itself.
        projected: what ``project`` gave for each a, one after the other; by default it is computed here.

    Returns:
        ``mismatch`` and its variants, ``chance`` and ``chance_signed``: (k, norm, a, b); the calibrated measures
        (``coupling.choices.CALIBRATED``): (k, a, b), each with its ``_chance`` and ``_sd``: (k, a); ``left_angle`` and
        ``right_angle``: (k, a, b, rank); ``singular_values`` and ``singular_value_error``: (a, rank);
        ``projection``: (a, b, rank, other_rank), where it was asked for.
    """
    values = np.stack([item.triplets.values.numpy() for item in a])
    if projected is None:
        frames = Frames.of(b)
        projected = (project(item.operator, frames) for item in a)
    # The arrays are made before the products, whose freed memory small new arrays between them would keep from reuse.
    plain = np.empty((len(a), len(b), values.shape[1], values.shape[1]))
    swapped = np.empty_like(plain)
    for index, pair in enumerate(projected):
        plain[index], swapped[index] = pair
    overlaps = {side: _overlap(a, b, side) for side in SIDES}
    over_pairs = _mismatches(plain, swapped, values, ks) | _chance_levels(a, b, values, ks)
    over_pairs |= _angles(overlaps, ks, is_symmetric=a is b)
    over_pairs |= _calibrated(plain, overlaps, values, ks)
    if projections:
        over_pairs["projection"] = plain
    result = {name: np.array(array) for name, array in over_pairs.items()}  # chance levels are broadcast views
    zero_a, zero_b = ([index for index, item in enumerate(side) if not item.triplets.values[0] > 0] for side in (a, b))
    for name, array in result.items():
        first = {"projection": 0, "left_angle": 1, "right_angle": 1}.get(name, array.ndim - 2)
        np.moveaxis(array, first + 1, 0)[zero_b] = np.nan
        if name in _WITHOUT_VALUES:
            np.moveaxis(array, first, 0)[zero_a] = np.nan
    result |= _calibrated_nulls(a, values, ks)
    result["singular_values"] = values
    result["singular_value_error"] = np.stack([item.triplets.error.numpy() for item in a])
    return result


@dataclass(frozen=True)
class Frames:
    """The singular frames of several Jacobians.

    Attributes:
        rows: ``V_b^T`` of every b, then ``U_b^T`` of every b; in this order no product with them needs a copy.
    """

    rows: Float[torch.Tensor, "2b K d"]

    @classmethod
    def of(cls, factored: Sequence[FactoredJacobian]) -> "Frames":
        """The frames of Jacobians."""
        sides = ("right", "left")
        return cls(torch.stack([getattr(item.triplets, side).mT for side in sides for item in factored]))


@exact_numerics()
def project(operator: BlockJacobian | DenseJacobian | None, frames: Frames) -> Projection:
    """``U_b^T J V_b`` and ``V_b^T J U_b`` of one Jacobian in the frames of every b, each (b, K, K)."""
    if operator is None:
        raise ValueError("a Jacobian of which only the frames were kept cannot be projected")
    right, left = frames.rows.chunk(2)
    images = operator.matmat(frames.rows.flatten(0, 1).mT).cpu().double().mT  # (J [V_1 ... U_B])^T
    of_right, of_left = images.reshape(frames.rows.shape).chunk(2)
    # U_b^T (J V_b) and V_b^T (J U_b)
    return torch.bmm(left, of_right.mT).numpy(), torch.bmm(right, of_left.mT).numpy()


def _mismatches(
    plain: Float[np.ndarray, "a b K K"],
    swapped: Float[np.ndarray, "a b K K"],
    values: Float[np.ndarray, "a K"],
    ks: Sequence[int],
) -> dict[str, Float[np.ndarray, "k norm a b"]]:
    """All four variants of m = || |P| - S_a ||_F / ||S_a||_p for every k and p, P the projection."""
    result = {}
    for variant in VARIANTS:
        projection = swapped if variant.swapped else plain
        result[variant.variable()] = np.stack(
            [
                [metrics.mismatch(projection, values[:, None], k=k, norm=p, signed=variant.signed) for p in NORMS]
                for k in ks
            ]
        )
    return result


def _chance_levels(
    a: Sequence[FactoredJacobian],
    b: Sequence[FactoredJacobian],
    values: Float[np.ndarray, "a K"],
    ks: Sequence[int],
) -> dict[str, Float[np.ndarray, "k norm a b"]]:
    """The expected mismatch with random frames; it depends on a alone, and is repeated over b."""
    result = {}
    for name, signed in (("chance", False), ("chance_signed", True)):
        level = [
            [
                [
                    metrics.chance_mismatch(item.moments, row, k=k, norm=p, signed=signed)
                    for item, row in zip(a, values, strict=True)
                ]
                for p in NORMS
            ]
            for k in ks
        ]
        result[name] = np.broadcast_to(np.array(level)[..., None], (len(ks), len(NORMS), len(a), len(b)))
    return result


def _overlap(a: Sequence[FactoredJacobian], b: Sequence[FactoredJacobian], side: str) -> Float[np.ndarray, "a b K K"]:
    """``U_a^T U_b``, or ``V_a^T V_b``, for every pair."""
    first = torch.stack([getattr(item.triplets, side) for item in a])
    second = torch.stack([getattr(item.triplets, side) for item in b])
    return torch.einsum("adi,bdj->abij", first, second).numpy()


def _angles(
    overlaps: dict[str, Float[np.ndarray, "a b K K"]], ks: Sequence[int], *, is_symmetric: bool
) -> dict[str, Float[np.ndarray, "k a b rank"]]:
    """Principal angles between the left, and between the right, top-k subspaces; NaN beyond k.

    Args:
        overlaps: ``U_a^T U_b`` and ``V_a^T V_b``.
        ks: the numbers of singular vectors.
        is_symmetric: whether a and b are the same, so that the angles of (b, a) are those of (a, b).
    """
    result = {}
    for side, overlap in overlaps.items():
        n_a, n_b, top, _ = overlap.shape
        # the pairs whose angles are computed
        first, second = np.triu_indices(n_a) if is_symmetric else (part.ravel() for part in np.indices((n_a, n_b)))
        angles = np.full((len(ks), n_a, n_b, top), np.nan)
        for position, k in enumerate(ks):
            angles[position, first, second, :k] = metrics.principal_angles(overlap[first, second], k=k)
        if is_symmetric:
            angles[:, second, first] = angles[:, first, second]
        result[f"{side}_angle"] = angles
    return result


def _calibrated(
    plain: Float[np.ndarray, "a b K K"],
    overlaps: dict[str, Float[np.ndarray, "a b K K"]],
    values: Float[np.ndarray, "a K"],
    ks: Sequence[int],
) -> dict[str, Float[np.ndarray, "k a b"]]:
    """The calibrated measures of every pair, for every k."""
    s = values[:, None]
    formulas = {
        "aligned_energy": lambda k: alignment.aligned_energy(plain, s, k=k),
        "diagonal_share": lambda k: alignment.diagonal_share(plain, k=k),
        "signed_diagonal": lambda k: alignment.signed_diagonal(plain, s, k=k),
        "absolute_diagonal": lambda k: alignment.absolute_diagonal(plain, s, k=k),
        "left_overlap": lambda k: alignment.subspace_overlap(overlaps["left"], k=k),
        "right_overlap": lambda k: alignment.subspace_overlap(overlaps["right"], k=k),
    }
    return {measure.name: np.stack([formulas[measure.name](k) for k in ks]) for measure in CALIBRATED}


def _calibrated_nulls(
    a: Sequence[FactoredJacobian], values: Float[np.ndarray, "a K"], ks: Sequence[int]
) -> dict[str, Float[np.ndarray, "k a"]]:
    """The chance level of each calibrated measure, and the standard deviation around it; they depend on a alone."""
    result = {}
    for measure in CALIBRATED:
        nulls = [
            [alignment.null(measure.name, item.moments, s, k) for item, s in zip(a, values, strict=True)] for k in ks
        ]
        for suffix, part in ((CHANCE, "mean"), (SD, "sd")):
            result[measure.name + suffix] = np.array([[getattr(null, part) for null in row] for row in nulls])
    return result
