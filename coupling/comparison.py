"""A group of Jacobians: the singular triplets of each, and each in the singular frames of every other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from coupling import metrics
from coupling.jacobian import BlockJacobian, DenseJacobian
from coupling.settings import Settings
from coupling.svd import SingularTriplets, choose_engine, top_singular_triplets

NORMS = (1, 2)
PROBES = 64
"""Random directions that estimate how much a Jacobian stretches, for the chance level."""
KEPT_MEMORY = 2**30
"""Bytes of dense Jacobians kept for the comparison; beyond it products are made through the block again."""


@dataclass(frozen=True)
class Factored:
    """A Jacobian with its top singular triplets, and what decides its chance level."""

    operator: BlockJacobian | DenseJacobian
    triplets: SingularTriplets
    spread: metrics.Spread


def factor(jacobian: BlockJacobian | DenseJacobian, settings: Settings, *, compared: int) -> Factored:
    """Top singular triplets of one Jacobian that will be compared with so many.

    Raises:
        CouplingError: if the Jacobian is not finite.
    """
    k = settings.k[-1]
    extra = 2 * compared * k + PROBES
    engine = settings.engine
    if engine == "auto":
        engine = choose_engine(jacobian.shape, k, extra_columns=extra)
    operator: BlockJacobian | DenseJacobian = jacobian
    if engine == "dense" and isinstance(jacobian, BlockJacobian):
        operator = DenseJacobian(jacobian.to_dense())
    triplets = top_singular_triplets(operator, k, engine=engine, tol=settings.tol, seed=settings.seed)
    return Factored(_kept(operator, jacobian, compared), triplets, _spread(operator, settings.seed))


def _kept(
    operator: BlockJacobian | DenseJacobian, jacobian: BlockJacobian | DenseJacobian, compared: int
) -> BlockJacobian | DenseJacobian:
    """The dense matrix if all of its group fit in memory, else the operator that can make its products again."""
    size = operator.shape[0] * operator.shape[1] * operator.dtype.itemsize
    return operator if size * compared <= KEPT_MEMORY else jacobian


def _spread(operator: BlockJacobian | DenseJacobian, seed: int) -> metrics.Spread:
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(operator.shape[1], PROBES, generator=generator, dtype=torch.float64)
    probes = probes / torch.linalg.vector_norm(probes, dim=0)
    stretches = torch.linalg.vector_norm(operator.matmat(probes).double(), dim=0).cpu()
    if isinstance(operator, DenseJacobian):
        frobenius = float(torch.linalg.matrix_norm(operator.matrix.double()))
    else:  # E ||J v||^2 = ||J||_F^2 / d
        frobenius = float(torch.sqrt((stretches**2).mean() * operator.shape[1]))
    return metrics.Spread(frobenius, float(stretches.mean()), operator.shape)


VARIANTS = ("mismatch", "mismatch_signed", "mismatch_swapped", "mismatch_swapped_signed")


def compare(
    a: Sequence[Factored], b: Sequence[Factored], ks: Sequence[int], *, projections: bool = False
) -> dict[str, np.ndarray]:
    """Every Jacobian of a in the singular frames of every Jacobian of b.

    Args:
        a: Jacobians whose singular values are the yardstick.
        b: Jacobians whose frames they are seen in.
        ks: numbers of top singular vectors.
        projections: return ``U_b^T J_a V_b`` itself too.

    Returns:
        ``mismatch`` and its variants, ``chance`` and ``chance_signed``: (k, norm, a, b); ``left_angle`` and
        ``right_angle``: (k, a, b, rank); ``singular_values`` and ``singular_value_error``: (a, rank);
        ``projection``: (a, b, rank, other_rank), where it was asked for.
    """
    top = ks[-1]
    left = torch.stack([item.triplets.left for item in b])  # (b, d, K)
    right = torch.stack([item.triplets.right for item in b])
    values = np.stack([item.triplets.values.numpy() for item in a])
    plain = np.empty((len(a), len(b), top, top))
    swapped = np.empty_like(plain)
    columns = torch.cat([right, left]).permute(1, 0, 2).reshape(right.shape[1], -1)
    for index, item in enumerate(a):
        images = item.operator.matmat(columns).cpu().double()
        images = images.reshape(len(images), 2 * len(b), top).permute(1, 0, 2)
        plain[index] = torch.bmm(left.mT, images[: len(b)]).numpy()  # U_b^T J_a V_b
        swapped[index] = torch.bmm(right.mT, images[len(b) :]).numpy()  # V_b^T J_a U_b
    result: dict[str, np.ndarray] = {}
    for name in VARIANTS:
        projection = swapped if "swapped" in name else plain
        result[name] = np.stack([
            [metrics.mismatch(projection, values[:, None], k=k, norm=p, signed="signed" in name) for p in NORMS]
            for k in ks
        ])  # fmt: skip
    for name in ("chance", "chance_signed"):
        level = np.array([
            [[metrics.chance_mismatch(item.spread, row, k=k, norm=p, signed="signed" in name)
              for item, row in zip(a, values, strict=True)] for p in NORMS]
            for k in ks
        ])  # fmt: skip
        result[name] = np.broadcast_to(level[..., None], result["mismatch"].shape)
    for name, frames in (("left_angle", "left"), ("right_angle", "right")):
        first = torch.stack([getattr(item.triplets, frames) for item in a])
        second = torch.stack([getattr(item.triplets, frames) for item in b])
        overlap = torch.einsum("adi,bdj->abij", first, second).numpy()
        angles = np.full((len(ks), len(a), len(b), top), np.nan)
        for place, k in enumerate(ks):
            angles[place, ..., :k] = metrics.principal_angles(overlap, k=k)
        result[name] = angles
    if projections:
        result["projection"] = plain
    result["singular_values"] = values
    result["singular_value_error"] = np.stack([item.triplets.error.numpy() for item in a])
    return result
