r"""BlockJacobian: the derivative of one output token of a block with respect to one input token, as a linear operator.

.. math:: J^l_{st} = \frac{\partial f^l(X^{l-1})_t}{\partial x_s^{l-1}}

The forward pass is made once, at a single point. Both products then use its graph: ``rmatmat`` is its reverse-mode
derivative, and ``matmat`` is the reverse-mode derivative of ``rmatmat`` (which is linear in its argument), so that no
operation needs a forward-mode rule.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from coupling.numerics import exact_numerics

PASS_MEMORY = 256 * 2**20
"""Approximate bytes that one batched pass may use; it determines how many directions are pushed at once."""


class BlockJacobian:
    """The Jacobian of a function from R^d to R^d at a point; rows are outputs, columns inputs.

    Args:
        function: the function to differentiate, built of torch operations; (d,) -> (d,).
        point: the point at which it is differentiated; (d,).
        tokens: the number of tokens that the function computes inside; only the memory estimate needs it.

    Attributes:
        value: the function at the point; (d,).
        token_local: whether all tokens except the input and output token were frozen; else the full sequence was
            replayed.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], point: Float[Tensor, "d"], *, tokens: int = 1) -> None:
        self.dtype, self.device, self.token_local = point.dtype, point.device, False
        with torch.enable_grad():
            x = point.detach().clone().requires_grad_()
            output = function(x)
            # u -> J^T u is linear in u, so its own reverse-mode derivative at any u is v -> J v.
            u = torch.zeros_like(output, requires_grad=True)
            (pulled,) = torch.autograd.grad(output, x, u, create_graph=True)
        self.value = output.detach()
        self.shape = (output.numel(), x.numel())
        self.chunk = max(1, int(PASS_MEMORY / (48 * x.numel() * x.dtype.itemsize * tokens)))
        self._graphs = {"J": (pulled, u), "J^T": (output, x)}

    @exact_numerics()
    def _push(self, product: str, columns: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """One batched backward pass through an existing graph; one direction per row."""
        end, start = self._graphs[product]

        def one(direction: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
            return torch.autograd.grad(end, start, direction, retain_graph=True)[0]

        return torch.func.vmap(one, chunk_size=self.chunk)(columns.to(self.device, self.dtype))

    def matmat(self, v: Float[Tensor, "d m"]) -> Float[Tensor, "d m"]:
        """``J @ v``: push input directions through the block."""
        return self._push("J", v.mT).mT

    def rmatmat(self, u: Float[Tensor, "d m"]) -> Float[Tensor, "d m"]:
        """``J.T @ u``: pull output directions back."""
        return self._push("J^T", u.mT).mT

    def to_dense(self) -> Float[Tensor, "d d"]:
        """The matrix itself: one reverse-mode pass per row, with all rows batched."""
        return self._push("J^T", torch.eye(self.shape[0]))

    def to_scipy(self) -> LinearOperator:
        """The same operator for SciPy's solvers."""

        def on_arrays(product: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
            return lambda x: product(torch.from_numpy(np.ascontiguousarray(x))).cpu().double().numpy()

        matmat, rmatmat = on_arrays(self.matmat), on_arrays(self.rmatmat)
        return LinearOperator(
            self.shape,
            matvec=lambda x: matmat(x.reshape(-1, 1))[:, 0],
            rmatvec=lambda x: rmatmat(x.reshape(-1, 1))[:, 0],
            matmat=matmat,
            rmatmat=rmatmat,
            dtype=np.float64,
        )


class DenseJacobian:
    """A matrix that has been formed, with the same methods; products are in float64 whatever its own precision."""

    def __init__(self, matrix: Float[Tensor, "m n"]) -> None:
        self.matrix, self.shape = matrix, (matrix.shape[0], matrix.shape[1])
        self.dtype, self.device = matrix.dtype, matrix.device

    def matmat(self, v: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """``J @ v``."""
        return self.matrix.double() @ v.double().to(self.device)

    def rmatmat(self, u: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """``J.T @ u``."""
        return self.matrix.double().mT @ u.double().to(self.device)

    def to_dense(self) -> Float[Tensor, "m n"]:
        """The matrix."""
        return self.matrix

    def to_scipy(self) -> LinearOperator:
        """The same operator for SciPy's solvers."""
        from scipy.sparse.linalg import aslinearoperator

        return aslinearoperator(self.matrix.double().cpu().numpy())
