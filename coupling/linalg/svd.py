r"""Top singular triplets of a linear operator, with an error bound for each.

One function offers two methods. *Dense*: form the matrix, then an iteration in float32
(``coupling.linalg.leading``), or LAPACK where that is faster or the iteration does not meet its residual test; both end
with Rayleigh-Ritz in float64. *Matrix-free*: randomized block Krylov iteration (Halko, Martinsson, Tropp 2011; Musco
and Musco 2015): a random start of ``k + oversampling`` columns, then power iterations whose iterates are all kept, with
Rayleigh-Ritz on their span, until the residuals meet the tolerance.

The bound. With unit vectors, ``r1 = ||J v - s u||`` and ``r2 = ||J^T u - s v||``, the matrix
``[[0, J], [J^T, 0]]`` has an eigenvalue within ``sqrt((r1^2 + r2^2) / 2)`` of ``s`` (its residual on
``(u, v) / sqrt(2)``), so J has a singular value there. To that is added ``sqrt(d) eps s_1``, the rounding of a
matrix that was itself computed in finite precision (eps of the operator's dtype).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from coupling.choices import DEFAULT_TOL, Engine
from coupling.errors import CouplingError
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.leading import is_worthwhile, leading_triplets
from coupling.numerics import exact_numerics
from coupling.untrusted import quoted

OVERSAMPLING = 10
MAX_POWER_ITERATIONS = 100
NARROW_PASS = 32
"""The fixed cost of a batched pass, expressed in columns: reading the weights, and the framework's overhead."""
EXPECTED_POWER_ITERATIONS = 8
KEPT_BLOCKS = 16
"""Width of the Krylov basis, in blocks, at which the iteration restarts from its best vectors."""


class Operator(Protocol):
    """A linear operator, such as ``BlockJacobian`` and ``DenseJacobian``."""

    shape: tuple[int, int]
    dtype: torch.dtype

    def matmat(self, v: Tensor) -> Tensor:
        """``J @ v``."""
        ...

    def rmatmat(self, u: Tensor) -> Tensor:
        """``J.T @ u``."""
        ...

    def to_dense(self) -> Tensor:
        """The matrix."""
        ...


@dataclass(frozen=True)
class SingularTriplets:
    """The top k singular triplets, largest first; float64, on the CPU.

    Attributes:
        left: (m, k), orthonormal columns.
        values: (k,).
        right: (n, k), orthonormal columns.
        error: (k,); the operator has a singular value within ``error[i]`` of ``values[i]``.
        power_iterations: the number of power iterations; 0 for the dense engine.
        engine: "dense" or "matrix-free".
        converged: whether every residual met the tolerance.
    """

    left: Float[Tensor, "m k"]
    values: Float[Tensor, "k"]
    right: Float[Tensor, "n k"]
    error: Float[Tensor, "k"]
    power_iterations: int
    engine: str
    converged: bool


class _ScipyOperator:
    """A SciPy LinearOperator with the methods of ``Operator``."""

    def __init__(self, operator: LinearOperator) -> None:
        self._operator, self.shape, self.dtype = operator, operator.shape, torch.float64

    def matmat(self, v: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._operator.matmat(v.numpy())))

    def rmatmat(self, u: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._operator.rmatmat(u.numpy())))

    def to_dense(self) -> Tensor:
        return self.matmat(torch.eye(self.shape[1], dtype=torch.float64))


def as_operator(matrix: Any) -> Operator:
    """A tensor, array, SciPy operator or BlockJacobian as an operator."""
    if isinstance(matrix, np.ndarray):
        matrix = torch.from_numpy(np.ascontiguousarray(matrix))
    if isinstance(matrix, Tensor):
        return DenseJacobian(matrix if matrix.is_floating_point() else matrix.double())
    if isinstance(matrix, LinearOperator):
        return _ScipyOperator(matrix)
    return matrix


def choose_engine(
    shape: tuple[int, int], k: int, *, oversampling: int = OVERSAMPLING, extra_columns: int = 0
) -> Engine:
    """Choose "dense" or "matrix-free" by counting columns pushed through the operator.

    Dense pushes every row once. Matrix-free pushes ``k + oversampling`` columns both ways in each expected
    power iteration, and then the ``extra_columns`` that will be multiplied with the operator afterwards.
    """
    width = k + oversampling
    free = 2 * (EXPECTED_POWER_ITERATIONS + 1) * (width + NARROW_PASS) + extra_columns
    return "dense" if min(shape) <= max(free, 2 * width) else "matrix-free"


@exact_numerics()
def top_singular_triplets(
    operator: Any,
    k: int,
    *,
    engine: Engine = "auto",
    tol: float = DEFAULT_TOL,
    oversampling: int = OVERSAMPLING,
    max_power_iterations: int = MAX_POWER_ITERATIONS,
    seed: int = 0,
) -> SingularTriplets:
    """The k largest singular values of an operator with their vectors and an error bound for each.

    Args:
        operator: a BlockJacobian, a tensor or array, or a SciPy LinearOperator; (m, n).
        k: the number of triplets, 1 to min(m, n).
        engine: "dense", "matrix-free", or "auto" to choose by counting operations.
        tol: residual of each triplet relative to its singular value at which iteration stops (matrix-free).
        oversampling: columns beyond k in a random block (matrix-free).
        max_power_iterations: the largest number of power iterations; ``converged`` tells whether the tolerance was
            met.
        seed: seed of the random start; the same seed gives the same numbers.

    Raises:
        CouplingError: if k is out of range, or the operator gives a NaN or an infinity.

    Example:
        >>> import torch
        >>> triplets = top_singular_triplets(torch.diag(torch.tensor([3.0, 2.0, 1.0])), k=2)
        >>> [round(value, 6) for value in triplets.values.tolist()]
        [3.0, 2.0]
    """
    operator = as_operator(operator)
    if not 1 <= k <= min(operator.shape):
        raise CouplingError(f"k is {k}, but must be 1 to {min(operator.shape)}, the size of the matrix")
    if engine == "auto":
        engine = choose_engine(operator.shape, k, oversampling=oversampling)
    if engine == "dense":
        return _dense(operator, k, tol)
    if engine == "matrix-free":
        return _matrix_free(operator, k, tol, oversampling, max_power_iterations, seed)
    raise CouplingError(f"engine is {quoted(engine)}, but must be 'auto', 'dense' or 'matrix-free'")


def _dense(operator: Operator, k: int, tol: float) -> SingularTriplets:
    formed = operator if isinstance(operator, DenseJacobian) else DenseJacobian(operator.to_dense())
    matrix = formed.wide
    _refuse_not_finite(matrix)
    if min(matrix.shape) <= 4 * k:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        found = u[:, :k], s[:k], vh[:k].mT
        return _triplets(operator, *found, _residuals(matrix, *found), tol, 0, "dense")
    if operator.dtype != torch.float64 and is_worthwhile(operator.shape, k):
        leading = leading_triplets(matrix, k)
        if leading is not None:
            found, back = (leading.left, leading.values, leading.right), leading.residuals
            return _triplets(operator, *found, (torch.zeros_like(back), back), tol, 0, "dense")
    # Right singular vectors are eigenvectors of the Gram matrix J^T J. They are computed in the matrix's own precision
    # first, and kept if their residuals in float64 are below the rounding of the matrix itself. LAPACK is called
    # through torch, because SciPy's threads would wait for work and slow the block's passes between two SVDs.
    precisions = [torch.float64] if operator.dtype == torch.float64 else [torch.float32, torch.float64]
    for precision in precisions:
        # scaled to entries of at most 1, so that the squares neither overflow nor underflow
        scaled = (matrix / matrix.abs().max().clamp_min(1e-300)).to(precision)
        leading = torch.linalg.eigh(scaled.mT @ scaled)[1][:, -(k + OVERSAMPLING) :].flip(1)
        basis = torch.linalg.qr(leading.double())[0]
        # Rayleigh-Ritz in float64 repairs what the squared condition number of J^T J costs
        left, values, right = (part[..., :k] for part in _rayleigh_ritz(matrix, basis))
        residuals = _residuals(matrix, left, values, right)
        if max(float(r.max()) for r in residuals) <= float(_rounding(operator, values[0])):
            break
    return _triplets(operator, left, values, right, residuals, tol, 0, "dense")


def _residuals(
    matrix: Float[Tensor, "m n"], left: Float[Tensor, "m k"], values: Float[Tensor, "k"], right: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """``||J v - s u||`` and ``||J^T u - s v||`` for each triplet."""
    forth = torch.linalg.vector_norm(matrix @ right - left * values, dim=0)
    back = torch.linalg.vector_norm(matrix.mT @ left - right * values, dim=0)
    return forth, back


def _rayleigh_ritz(
    matrix: Float[Tensor, "m n"], basis: Float[Tensor, "n c"]
) -> tuple[Float[Tensor, "m c"], Float[Tensor, "c"], Float[Tensor, "n c"]]:
    """The best triplets in the span of an orthonormal basis B: the SVD of ``J B = Q R`` is ``(Q u) s (B v)^T``."""
    q, r = torch.linalg.qr(matrix @ basis)
    u, s, vh = torch.linalg.svd(r)
    return q @ u, s, basis @ vh.mT


def _matrix_free(
    operator: Operator, k: int, tol: float, oversampling: int, max_power_iterations: int, seed: int
) -> SingularTriplets:
    """Randomized block Krylov iteration, restarted when the basis grows too wide."""
    n = operator.shape[1]
    width = min(k + oversampling, min(operator.shape))

    def push(v: Tensor) -> Tensor:
        return operator.matmat(v.to(operator.dtype)).cpu().double()

    def pull(u: Tensor) -> Tensor:
        return operator.rmatmat(u.to(operator.dtype)).cpu().double()

    # Start: an orthonormal basis B of a random block, and its image J B.
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(n, width, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(start)[0]
    image = push(basis)
    iteration = 0
    while True:
        _refuse_not_finite(image)
        # Rayleigh-Ritz on the span of B, then the residuals R = J^T U - V S of the leading triplets.
        left, values, right = _ritz(basis, image, width)
        residual = pull(left) - right * values
        norms = torch.linalg.vector_norm(residual[:, :k], dim=0)
        goal = torch.maximum(tol * values[:k], _rounding(operator, values[0]))
        if (norms <= goal).all() or iteration == max_power_iterations or basis.shape[1] >= n:
            break
        iteration += 1
        if basis.shape[1] + width > KEPT_BLOCKS * width:  # restart: B = V
            basis = torch.linalg.qr(right)[0]
            image = push(basis)
        # Power iteration: J^T J V = J^T U S, and its part outside the span of B is that of R. Extend B by it.
        fresh = _orthonormal_to(basis, residual, generator)[:, : n - basis.shape[1]]
        basis, image = torch.cat([basis, fresh], 1), torch.cat([image, push(fresh)], 1)
    # J^T u - s v is known from the last iteration; J v - s u takes one more product.
    other = torch.linalg.vector_norm(push(right[:, :k]) - left[:, :k] * values[:k], dim=0)
    return _triplets(operator, left[:, :k], values[:k], right[:, :k], (other, norms), tol, iteration, "matrix-free")


def _ritz(
    basis: Float[Tensor, "n c"], image: Float[Tensor, "m c"], width: int
) -> tuple[Float[Tensor, "m w"], Float[Tensor, "w"], Float[Tensor, "n w"]]:
    """Leading triplets of the operator on a basis B, given its image J B: by the Gram matrix, then Rayleigh-Ritz."""
    leading = torch.linalg.eigh(image.mT @ image)[1][:, -width:].flip(1)
    left, values, mixing = _rayleigh_ritz(image, leading)
    return left, values, basis @ mixing


def _orthonormal_to(
    basis: Float[Tensor, "n c"], columns: Float[Tensor, "n w"], generator: torch.Generator
) -> Float[Tensor, "n w"]:
    """New orthonormal directions, orthogonal to the basis; random ones where a column has vanished."""
    for _ in range(2):
        columns = columns - basis @ (basis.mT @ columns)
        norms = torch.linalg.vector_norm(columns, dim=0)
        spare = torch.randn(columns.shape, generator=generator, dtype=columns.dtype)
        columns = torch.where(norms > 1e-300, columns / norms.clamp_min(1e-300), spare)
        columns = torch.linalg.qr(columns - basis @ (basis.mT @ columns))[0]
    return columns


def _rounding(operator: Operator, largest: Tensor) -> Tensor:
    return torch.finfo(operator.dtype).eps * max(operator.shape) ** 0.5 * largest


def _triplets(
    operator: Operator,
    left: Tensor,
    values: Tensor,
    right: Tensor,
    residuals: tuple[Tensor, Tensor],
    tol: float,
    iterations: int,
    engine: str,
) -> SingularTriplets:
    """Fix the signs (the largest entry of each right vector is positive), and compute the bounds."""
    r1, r2 = residuals
    bound = torch.sqrt((r1**2 + r2**2) / 2)
    rounding = _rounding(operator, values[0])
    sign = signs_of(right)
    return SingularTriplets(
        (left * sign).cpu(),
        values.cpu(),
        (right * sign).cpu(),
        (bound + rounding).cpu(),
        iterations,
        engine,
        bool((bound <= torch.maximum(tol * values, rounding)).all()),
    )


def signs_of(right: Float[Tensor, "*g n k"]) -> Float[Tensor, "*g 1 k"]:
    """The signs that make the largest entry of each right vector positive."""
    largest = right.gather(-2, right.abs().argmax(-2, keepdim=True))
    return torch.where(largest < 0, -1.0, 1.0).to(right)


def _refuse_not_finite(matrix: Tensor) -> None:
    # the least and the greatest entry are NaN or infinite where any is; one pass without a copy of the matrix
    if not torch.isfinite(torch.stack(torch.aminmax(matrix))).all():
        raise CouplingError("the Jacobian contains a NaN or an infinity; try a wider `dtype`")
