r"""The tail of a block: the layers whose derivative is their weight, so that no product with it is needed.

Every row of a dense Jacobian starts as a unit vector, and the first layer that it meets on the way back is the block's
last linear layer, ``y = W h + b``: its product with the identity is W itself. So y is cut from the graph, and the pair
(identity at the rest of the output, W at h) is pulled back. Where h in turn is an elementwise function of the outputs z
of other linear layers (an activation, or a gate times a value), its derivative is a diagonal D, and ``W D`` is pulled
back from z instead.

Neither is assumed. The derivative of the block's output by y must be the identity, which one random vector shows; that
of h by z must be a diagonal, which another one shows; and with z cut from the graph as well, nothing else may lead from
the input to h. A normalization or a factor after the last layer fails the first check, and the block is then
differentiated without this.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coupling.linalg.jacobian import End, Joint, at_rows
from coupling.models.attention_replay import Attending, attending
from coupling.models.heads import Heads
from coupling.models.linear_calls import Call, CutError, direction, is_linear, observing


@dataclass(frozen=True)
class Tail:
    """Which layers of a block can be cut.

    Attributes:
        last: linear layers whose output enters the block's output unscaled and nothing else.
        inner: for each of them the linear layers of whose outputs its input is an elementwise function; empty where it
            is something else.
    """

    last: tuple[nn.Module, ...] = ()
    inner: tuple[tuple[nn.Module, ...], ...] = ()

    @property
    def layers(self) -> list[nn.Module]:
        """All of them."""
        return list(dict.fromkeys([*self.last, *(module for group in self.inner for module in group)]))


NO_TAIL = Tail()


@dataclass
class Cut:
    """The layers of a tail in one call of the block, which happens inside ``cutting``.

    Attributes:
        tail: the layers.
        rows: the index of each output token among the rows that are computed.
        heads: the heads of the attention, at whose output the graph is cut as well; None where it is not.
        calls: the calls of the last and the inner layers.
        projections: the calls of the projections of the heads.
        attendings: the calls of attention.
    """

    tail: Tail
    rows: Sequence[int]
    heads: Heads | None = None
    calls: list[Call] = field(default_factory=list)
    projections: list[Call] = field(default_factory=list)
    attendings: list[Attending] = field(default_factory=list)

    def joint(self, x: Float[Tensor, "d"]) -> Joint | None:
        """The output of the attention, if the graph was cut there.

        Raises:
            CutError: if it was not called once, as when the heads were found.
        """
        if self.heads is None or not self.attendings:
            return None
        if len(self.attendings) > 1 or not self.attendings[0].output.requires_grad:
            raise CutError
        return self.heads.joint(self.projections, self.attendings[0], x)

    def ends(self, output: Float[Tensor, "*g d"], x: Float[Tensor, "*g d"]) -> list[End]:
        """Inner points of the graph by which the derivative of the output is known.

        Args:
            output: what the block added to the stream of the output token, or of each of several that are independent.
            x: the input token, or those of each.

        Raises:
            CutError: if a layer that was cut acts on the output in another way than the tail says.
        """
        last = [call for call in self.calls if call.module in self.tail.last]
        if not last:
            return []
        inner = [call for call in self.calls if call.module not in self.tail.last]
        moving = [call for call in last if call.entered.requires_grad]
        u = direction(output)
        # the rest of the output has the last layers' outputs in it, unscaled, and none of the inner layers'
        gradients = torch.autograd.grad(
            output, [call.onward for call in [*last, *inner]], u, retain_graph=True, allow_unused=True
        )
        if not all(_is_unscaled(gradient, u, self.rows) for gradient in gradients[: len(last)]):
            raise CutError
        if any(gradient is not None for gradient in gradients[len(last) :]):
            raise CutError
        return [end for call in moving for end in self._ends_of(call, last, inner, x)]

    def _ends_of(self, call: Call, last: Sequence[Call], inner: Sequence[Call], x: Float[Tensor, "*g d"]) -> list[End]:
        """The input of a last layer with W; or the outputs of its inner layers with ``W D``."""
        h, names = call.entered, self.tail.inner[self.tail.last.index(call.module)]
        own = [other for other in inner if other.module in names]
        foreign = [other for other in [*last, *inner] if other not in own]
        # h must depend on its own inner layers and, where there are some, on nothing else
        excluded = [other.onward for other in foreign]
        excluded += [x, *(attending.onward for attending in self.attendings)] if own else []
        if excluded:
            others = torch.autograd.grad(h, excluded, torch.ones_like(h), retain_graph=True, allow_unused=True)
            if any(gradient is not None for gradient in others):
                raise CutError
        if not own:
            return [End(h, call.weight, None, self.rows)]
        diagonals = _diagonals(h, [other.onward for other in own])
        if diagonals is None:
            raise CutError
        return [
            End(other.output, call.weight, diagonal.reshape(-1, diagonal.shape[-1])[self.rows], self.rows)
            for other, diagonal in zip(own, diagonals, strict=True)
        ]


@contextmanager
def cutting(cut: Cut) -> Iterator[None]:
    """A context in which the outputs of a tail's layers, and that of the attention, are cut from the graph."""
    modules = cut.tail.layers
    projections = [] if cut.heads is None else list(cut.heads.layers)
    # a layer that has been given a hook since then is left alone
    if not all(is_linear(module) for module in modules):
        modules = []
    if not all(is_linear(layer) for layer in projections):
        projections = []
    with (
        observing(modules, cut=True) as cut.calls,
        observing(projections) as cut.projections,
        ExitStack() as stack,
    ):
        if cut.heads is not None:
            cut.attendings = stack.enter_context(attending(cut=True))
        yield


def find_tail(calls: Sequence[Call], output: Float[Tensor, "d"], row: int) -> Tail:
    """The tail of a block, from the calls of its linear layers in a graph that is whole.

    Args:
        calls: the calls, as noted by ``observing``.
        output: what the block added to the stream of the output token.
        row: the index of the output token among the rows that are computed.
    """
    modules = [call.module for call in calls]
    calls = [
        call for call in calls if call.output.requires_grad and call.output.numel() and modules.count(call.module) == 1
    ]
    if not calls:
        return NO_TAIL
    u = direction(output)
    gradients = torch.autograd.grad(output, [call.output for call in calls], u, retain_graph=True, allow_unused=True)
    last = [call for call, gradient in zip(calls, gradients, strict=True) if _is_unscaled(gradient, u, [row])]
    return Tail(tuple(call.module for call in last), tuple(_inner(call, calls) for call in last))


def _inner(last: Call, calls: Sequence[Call]) -> tuple[nn.Module, ...]:
    """The layers of whose outputs the input of a last layer seems to be an elementwise function; ``Cut`` makes sure."""
    h = last.entered
    calls = [call for call in calls if call is not last and call.output.shape == h.shape]
    if not calls or not h.requires_grad:
        return ()
    ones = torch.autograd.grad(
        h, [call.output for call in calls], torch.ones_like(h), retain_graph=True, allow_unused=True
    )
    inner = [call for call, one in zip(calls, ones, strict=True) if one is not None]
    found = inner and _diagonals(h, [call.output for call in inner]) is not None
    return tuple(call.module for call in inner) if found else ()


def _diagonals(h: Tensor, outputs: Sequence[Tensor]) -> list[Tensor] | None:
    """The derivatives of h by each z, as diagonals; None where one is not diagonal."""
    r = direction(h)
    ones = torch.autograd.grad(h, outputs, torch.ones_like(h), retain_graph=True, allow_unused=True)
    probes = torch.autograd.grad(h, outputs, r, retain_graph=True, allow_unused=True)
    # D r = D 1 * r for a diagonal D
    diagonals = [one for one in ones if one is not None]
    if len(diagonals) < len(ones) or not all(
        probe is not None and _agree(r * one, probe) for one, probe in zip(diagonals, probes, strict=True)
    ):
        return None
    return diagonals


def _is_unscaled(gradient: Tensor | None, u: Float[Tensor, "*g d"], rows: Sequence[int]) -> bool:
    """Whether a gradient is u at the rows of the outputs and zero elsewhere, exactly."""
    if gradient is None or gradient.shape[-1] != u.shape[-1]:
        return False
    return torch.equal(gradient, at_rows(u.reshape(1, len(rows), -1), gradient, rows)[0])


def _agree(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree to the rounding of their dtype."""
    eps = torch.finfo(a.dtype).eps
    return bool(torch.linalg.vector_norm((a - b).double()) <= 16 * eps * torch.linalg.vector_norm(b.double()))
