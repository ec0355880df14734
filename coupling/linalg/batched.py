"""Factor several small dense Jacobians at once: the same steps as for one, each batched over the matrices.

Below the width at which the Chebyshev filter is worthwhile, a matrix costs less than the calls that factor it. Wider
ones are factored one after the other.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coupling.choices import DEFAULT_TOL
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.leading import is_worthwhile
from coupling.linalg.pairwise import N_PROBES, FactoredJacobian, factor, probes_of
from coupling.linalg.svd import OVERSAMPLING, SingularTriplets, signs_of
from coupling.metrics import JacobianMoments
from coupling.numerics import exact_numerics


@exact_numerics()
def factor_dense(
    matrices: Float[Tensor, "g d d"], k: int, *, tol: float = DEFAULT_TOL, seed: int = 0
) -> list[FactoredJacobian | None]:
    """Top singular triplets and moments of several dense Jacobians; each keeps its matrix.

    Args:
        matrices: the Jacobians.
        k: number of top singular vectors.
        tol: see ``top_singular_triplets``.
        seed: seed of every random draw.

    Returns:
        None for a matrix that is not finite.
    """
    shape = (matrices.shape[-2], matrices.shape[-1])
    finite = torch.isfinite(matrices).all(-1).all(-1).tolist()
    is_small = min(shape) > 4 * k and not is_worthwhile(shape, k) and matrices.dtype == torch.float32
    done: dict[int, FactoredJacobian] = {}
    usual = [index for index, is_finite in enumerate(finite) if is_finite] if is_small and all(finite) else []
    if usual:
        found = _Batch(matrices, k, tol, seed).factored()
        done = {index: item for index, item in enumerate(found) if item is not None}
    return [
        done.get(index) or (factor(DenseJacobian(matrix), k, n_compared=1, engine="dense", tol=tol, seed=seed))
        if finite[index]
        else None
        for index, matrix in enumerate(matrices)
    ]


@dataclass(frozen=True)
class _Batch:
    """Matrices that are factored by the eigenvectors of their Gram matrices, as ``svd`` does with one."""

    matrices: Float[Tensor, "g m n"]
    k: int
    tol: float
    seed: int

    def factored(self) -> list[FactoredJacobian | None]:
        """None where the residuals of a matrix do not meet its rounding."""
        wide = self.matrices.double()
        scale = wide.abs().amax((-2, -1), keepdim=True).clamp_min(1e-300)
        scaled = (wide / scale).float()
        # right singular vectors are eigenvectors of J^T J; Rayleigh-Ritz in float64 repairs what squaring costs
        leading = torch.linalg.eigh(scaled.mT @ scaled)[1][..., -(self.k + OVERSAMPLING) :].flip(-1)
        basis = torch.linalg.qr(leading.double())[0]
        q, r = torch.linalg.qr(wide @ basis)
        u, s, vh = torch.linalg.svd(r)
        left, values, right = ((q @ u)[..., : self.k], s[..., : self.k], (basis @ vh.mT)[..., : self.k])
        forth = torch.linalg.vector_norm(wide @ right - left * values[..., None, :], dim=-2)
        back = torch.linalg.vector_norm(wide.mT @ left - right * values[..., None, :], dim=-2)
        rounding = torch.finfo(self.matrices.dtype).eps * max(wide.shape[-2:]) ** 0.5 * values[..., :1]
        bound = torch.sqrt((forth**2 + back**2) / 2)
        converged = (bound <= torch.maximum(self.tol * values, rounding)).all(-1)
        accepted = (torch.maximum(forth, back) <= rounding).all(-1)
        sign = signs_of(right)
        left, right, error = (left * sign).cpu(), (right * sign).cpu(), (bound + rounding).cpu()
        moments = self._moments(wide, left, values.cpu())
        values = values.cpu()
        return [
            FactoredJacobian(
                DenseJacobian(self.matrices[index]),
                SingularTriplets(left[index], values[index], right[index], error[index], 0, "dense", is_converged),
                moments[index],
            )
            if is_accepted
            else None
            for index, (is_accepted, is_converged) in enumerate(torch.stack([accepted, converged], 1).tolist())
        ]

    def _moments(
        self, wide: Float[Tensor, "g m n"], left: Float[Tensor, "g m k"], values: Float[Tensor, "g k"]
    ) -> list[JacobianMoments]:
        """As ``pairwise`` computes them of one matrix."""
        shape = (wide.shape[-2], wide.shape[-1])
        images = (wide @ probes_of(shape[1], self.seed).to(wide.device)).cpu()
        stretches = torch.linalg.vector_norm(images, dim=-2).mean(-1)
        frobenius = torch.linalg.matrix_norm(wide).cpu()
        rest = images - left @ (left.mT @ images)
        products = (rest.mT @ rest)[:, *torch.triu_indices(N_PROBES, N_PROBES, 1)]
        fourth = (values**4).sum(-1) + (products**2).mean(-1) * shape[1] ** 2
        rows = torch.stack([frobenius, stretches, fourth], 1).tolist()
        return [JacobianMoments(first, second, shape, third) for first, second, third in rows]
