r"""BlockJacobian: the derivative of one output token of a block with respect to one input token, as a linear operator.

.. math:: J^l_{st} = \frac{\partial f^l(X^{l-1})_t}{\partial x_s^{l-1}}

The forward pass is made once, at a single point. Both products then use its graph: ``rmatmat`` is its reverse-mode
derivative, and ``matmat`` is the reverse-mode derivative of ``rmatmat`` (which is linear in its argument), so that no
operation needs a forward-mode rule.

Where the derivative of the output by inner points of the graph is known to be a matrix (a last linear layer's weight),
the pass back starts at these points. The dense Jacobian then begins with the matrix itself instead of a product. And
where the graph is cut in two, f(x, o(x)), and do/dx can be had with fewer operations than by a pass for each row, the
dense Jacobian is completed by one product with do/dx.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from coupling.numerics import exact_numerics

Replay = Literal["token-local", "recorded-state", "prefix", "full-sequence"]
"""How a block is replayed: on the input and the output token with the recorded attention; on one token, from what the
block itself remembers of those before it; on the tokens up to the output token; or on all."""
REPLAYS: tuple[Replay, ...] = get_args(Replay)
"""From the fastest to the slowest."""
PASS_MEMORY = 256 * 2**20
"""Approximate bytes that one batched pass may use; it determines how many directions are pushed at once."""


@dataclass(frozen=True)
class End:
    """An inner point of a graph by which the derivative of the outputs is known: ``W D`` at one row for each output.

    Attributes:
        point: the tensor in the graph.
        weight: W.
        diagonals: the diagonal of D for each of the g outputs; None for the identity.
        rows: the row of the point for each output; the derivative by its other rows is zero.
    """

    point: Float[Tensor, "*batch r features"]
    weight: Float[Tensor, "d features"]
    diagonals: Float[Tensor, "g features"] | None
    rows: Sequence[int]

    def matrix(self) -> Float[Tensor, "d *batch r features"]:
        """``W D`` of every output."""
        return self._placed(self.weight[:, None].expand(-1, len(self.rows), -1))

    def pull(self, u: Float[Tensor, "m g d"]) -> Float[Tensor, "m *batch r features"]:
        """``u W D`` for every u of every output."""
        return self._placed(u @ self.weight)

    def _placed(self, values: Float[Tensor, "m g features"]) -> Tensor:
        placed = at_rows(values if self.diagonals is None else values * self.diagonals, self.point, self.rows)
        # of several outputs in any other order of memory, each would be multiplied by itself
        return placed if len(self.rows) == 1 else placed.contiguous()


@dataclass(frozen=True)
class Joint:
    """A point o at which a graph was cut: the function is f(x, o(x)).

    Attributes:
        inside: o, with the graph that leads to it from x.
        onward: the same values, with the graph that leads on to f.
        derivative: gives do/dx, (o, d), by fewer operations than a pass for each row takes; it is called with the
            number of directions that are pushed at once.
    """

    inside: Tensor
    onward: Tensor
    derivative: Callable[[int], Float[Tensor, "o d"]]


def at_rows(
    values: Float[Tensor, "m g features"], like: Float[Tensor, "*batch r features"], rows: Sequence[int]
) -> Float[Tensor, "m *batch r features"]:
    """Values at some rows of a tensor that is zero elsewhere."""
    n_rows = like.numel() // values.shape[-1]
    if n_rows == len(rows):
        return values.reshape(len(values), *like.shape)
    placed = values.new_zeros(len(values), n_rows, values.shape[-1])
    placed[:, rows] = values
    return placed.reshape(len(values), *like.shape)


class BlockJacobian:
    """The Jacobian of a function from R^d to R^d at a point; rows are outputs, columns inputs.

    Args:
        function: the function to differentiate, built of torch operations; (d,) -> (d,).
        point: the point at which it is differentiated; (d,).
        tokens: the number of tokens that the function computes inside; only the memory estimate needs it.
        ends: called with the function's output and input, it returns inner points by which the derivative of the
            output is known; the rest of the output's graph does not contain them.
        joint: called with the function's input, it returns the point at which the graph was cut, if it was.

    Attributes:
        value: the function at the point; (d,).
        replay: how the block was replayed, see ``Replay``.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        point: Float[Tensor, "d"],
        *,
        tokens: int = 1,
        ends: Callable[[Tensor, Tensor], Sequence[End]] | None = None,
        joint: Callable[[Tensor], Joint | None] | None = None,
    ) -> None:
        self.dtype, self.device = point.dtype, point.device
        self.replay: Replay = "full-sequence"
        with torch.enable_grad():
            self._x = point.detach().clone().requires_grad_()
            output = function(self._x)
        self._ends = list(ends(output, self._x)) if ends is not None else []
        self._points = [output, *(end.point for end in self._ends)]
        self._joint = joint(self._x) if joint is not None else None
        self.value = output.detach()
        self.shape = (output.numel(), self._x.numel())
        self.chunk = max(1, int(PASS_MEMORY / (48 * self._x.numel() * self._x.dtype.itemsize * tokens)))

    @property
    def token_local(self) -> bool:
        """Whether all other tokens were frozen, so that the cost does not depend on their number."""
        return self.replay in REPLAYS[:2]

    @cached_property
    def _transposed(self) -> tuple[Tensor, Tensor]:
        """``J^T u`` with a graph, and u: it is linear in u, so its own reverse-mode derivative at any u is v -> J v."""
        with torch.enable_grad():
            u = torch.zeros_like(self._points[0], requires_grad=True)
            images = [end.pull(u[None, None])[0] for end in self._ends]
            pulled = self._gradient([u, *images], create_graph=True)
        return pulled, u

    def _gradient(self, directions: Sequence[Tensor], *, create_graph: bool = False) -> Float[Tensor, "d"]:
        """The gradient of the output along one direction, which is given at every point."""
        how = {"retain_graph": True, "create_graph": create_graph}
        direct, *at_joint = self._gradients(directions, **how)
        if self._joint is None:
            return direct
        return direct + torch.autograd.grad(self._joint.inside, self._x, at_joint, **how)[0]

    def _gradients(self, directions: Sequence[Tensor], **how: bool) -> tuple[Tensor, ...]:
        """The gradient by the input alone, and by the joint where there is one."""
        if self._joint is None:
            return torch.autograd.grad(self._points, self._x, directions, **how)
        inputs = [self._x, self._joint.onward]
        return torch.autograd.grad(self._points, inputs, directions, materialize_grads=True, **how)

    @exact_numerics()
    def _pull(self, rows: Float[Tensor, "m d"], images: Sequence[Tensor]) -> Float[Tensor, "m d"]:
        """One batched backward pass; each row with its images at the inner points."""

        def one(*directions: Tensor) -> Float[Tensor, "d"]:
            return self._gradient(directions)

        return torch.func.vmap(one, chunk_size=self.chunk)(rows, *images)

    @exact_numerics()
    def matmat(self, v: Float[Tensor, "d m"]) -> Float[Tensor, "d m"]:
        """``J @ v``: push input directions through the block."""
        pulled, u = self._transposed

        def one(direction: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
            return torch.autograd.grad(pulled, u, direction, retain_graph=True)[0]

        columns = v.mT.to(self.device, self.dtype)
        return torch.func.vmap(one, chunk_size=self.chunk)(columns).mT

    def rmatmat(self, u: Float[Tensor, "d m"]) -> Float[Tensor, "d m"]:
        """``J.T @ u``: pull output directions back."""
        rows = u.mT.to(self.device, self.dtype)
        return self._pull(rows, [end.pull(rows[:, None]) for end in self._ends]).mT

    @exact_numerics()
    def to_dense(self) -> Float[Tensor, "d d"]:
        """The matrix itself: one reverse-mode pass per row, with all rows batched."""
        identity = torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        images = [end.matrix() for end in self._ends]
        if self._joint is None:
            return self._pull(identity, images)

        def one(*directions: Tensor) -> tuple[Tensor, ...]:
            return self._gradients(directions, retain_graph=True)

        direct, at_joint = torch.func.vmap(one, chunk_size=self.chunk)(identity, *images)
        return torch.addmm(direct, at_joint.flatten(1), self._joint.derivative(self.chunk))

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


class ManyJacobians:
    """The Jacobians of one function at several points that it treats independently of each other.

    One backward pass pushes a direction through all of them, so that many small products become a few large ones.

    Args:
        function: applied to every row of its argument; (g, d) -> (g, d).
        points: (g, d).
        tokens: the number of tokens that the function computes for each point; only the memory estimate needs it.
        ends: see ``BlockJacobian``.

    Attributes:
        value: the function at the points; (g, d).
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        points: Float[Tensor, "g d"],
        *,
        tokens: int = 1,
        ends: Callable[[Tensor, Tensor], Sequence[End]] | None = None,
    ) -> None:
        with torch.enable_grad():
            self._x = points.detach().clone().requires_grad_()
            output = function(self._x)
        self._ends = list(ends(output, self._x)) if ends is not None else []
        self._points = [output, *(end.point for end in self._ends)]
        self.value = output.detach()
        self.chunk = max(1, int(PASS_MEMORY / (48 * points.numel() * points.dtype.itemsize * tokens)))

    @exact_numerics()
    def rmatvec(self, u: Float[Tensor, "g d"]) -> Float[Tensor, "g d"]:
        """``J^T u`` of each Jacobian with its own direction."""
        images = [end.pull(u[None])[0] for end in self._ends]
        return torch.autograd.grad(self._points, self._x, [u, *images], retain_graph=True)[0]

    @exact_numerics()
    def to_dense(self) -> Float[Tensor, "g d d"]:
        """The matrices: one reverse-mode pass per row of all of them, with all rows batched."""
        groups, width = self.value.shape
        identity = torch.eye(width, dtype=self.value.dtype, device=self.value.device)

        def one(*directions: Tensor) -> Float[Tensor, "g d"]:
            return torch.autograd.grad(self._points, self._x, directions, retain_graph=True)[0]

        rows = identity[:, None].expand(-1, groups, -1)
        images = [end.matrix() for end in self._ends]
        return torch.func.vmap(one, chunk_size=self.chunk)(rows, *images).transpose(0, 1)


class DenseJacobian:
    """A matrix that has been formed, with the same methods; products are in float64 whatever its own precision."""

    def __init__(self, matrix: Float[Tensor, "m n"]) -> None:
        self.matrix, self.shape = matrix, (matrix.shape[0], matrix.shape[1])
        self.dtype, self.device = matrix.dtype, matrix.device
        self._kept: Tensor | None = None

    @property
    def wide(self) -> Float[Tensor, "m n"]:
        """The matrix in float64; on the CPU where its device has none."""
        if self._kept is not None:
            return self._kept
        return self.matrix.cpu().double() if self.device.type == "mps" else self.matrix.double()

    @contextmanager
    def keeping_wide(self) -> Iterator[None]:
        """A context in which the float64 copy is made once."""
        self._kept = self.wide
        try:
            yield
        finally:
            self._kept = None

    def matmat(self, v: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """``J @ v``; in memory column after column, as the singular frames are."""
        wide = self.wide
        return (v.double().to(wide.device).mT @ wide.mT).mT

    def rmatmat(self, u: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """``J.T @ u``."""
        wide = self.wide
        return wide.mT @ u.double().to(wide.device)

    def to_dense(self) -> Float[Tensor, "m n"]:
        """The matrix."""
        return self.matrix

    def to_scipy(self) -> LinearOperator:
        """The same operator for SciPy's solvers."""
        from scipy.sparse.linalg import aslinearoperator

        return aslinearoperator(self.wide.cpu().numpy())
