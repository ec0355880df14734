r"""The attention of a block, differentiated head by head.

At one token, the output of a head depends on the token's own query, key and value in this head alone, and these depend
on a few outputs of the linear layers before them, the projections ``y = W h + b``. So with o, the output of all heads,

.. math:: \frac{\partial o}{\partial x}
    = \sum_{\text{projections}} \frac{\partial o}{\partial y}\, W\, \frac{\partial h}{\partial x},

and the rows of the first factor that belong to one head have a few columns that are not zero. The product with W costs
one of ``heads`` parts of a dense one. The block is then a function f(x, o(x)), and its Jacobian needs one product with
do/dx in place of one with each projection.

Which outputs a head depends on is found out once per block, by a random direction for each head; no names or layouts of
projections are known here. At every token a random direction of o must show the same heads and no others, and lead to
the input through these projections alone. Where it does not, the block is differentiated without this; so it is in half
precision, whose rounding would hide a difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from coupling.linalg.jacobian import Joint
from coupling.models.attention_replay import Attending
from coupling.models.linear_calls import Call, CutError, direction, features_of, same_direction

SMALLEST_SAVING = 2e8
"""Products of numbers that must be saved; where there are fewer, the additional passes cost more than they save."""
ELEMENTWISE = 10
"""The cost of an elementwise operation on a number, in products of a matrix product."""
MOST_RUNS = 8
"""Contiguous ranges of outputs on which one head may depend in one layer."""

Run = tuple[int, int]
"""A range of a layer's outputs: the first, and the one after the last."""


@dataclass(frozen=True)
class Heads:
    """On which outputs of which linear layers each head of a block's attention depends.

    Attributes:
        layers: the projections.
        runs: for each head, and each of the layers, the ranges of its outputs.
        groups: heads that have no output in common, so that one pass pulls a direction of each of them back.
    """

    layers: tuple[nn.Module, ...]
    runs: tuple[tuple[tuple[Run, ...], ...], ...]
    groups: tuple[tuple[int, ...], ...]

    def joint(self, calls: Sequence[Call], attending: Attending, x: Float[Tensor, "d"]) -> Joint:
        """The block's graph, cut at the output of its attention.

        Args:
            calls: the calls of the projections.
            attending: the call of the attention.
            x: the block's input.

        Raises:
            CutError: if the heads depend on anything else at this point.
        """
        ordered = [call for layer in self.layers for call in calls if call.module is layer]
        z = attending.moving
        moving = z.requires_grad and all(call.output.requires_grad and not call.is_changed for call in ordered)
        if not moving or len(ordered) != len(self.layers):
            raise CutError
        # a direction of o and not of z, so that queries, keys and values count by their effect and not by their size
        u = direction(attending.output)
        of_heads = u.reshape(len(self.runs), -1, 1)
        by_head = _pulled_by_head(z, [call.output for call in ordered], (attending.matrix @ of_heads).reshape(z.shape))
        weights = [call.weight for call in ordered]
        sums = [found.sum(0, keepdim=True) @ weight for found, weight in zip(by_head, weights, strict=True)]
        (found,) = _pulled_to_input(ordered, sums, x)
        (expected,) = torch.autograd.grad(attending.output, x, u, retain_graph=True)
        masks = [mask.to(x.device) for mask in self._masks]
        others = [of_layer.masked_fill(mask, 0) for of_layer, mask in zip(by_head, masks, strict=True)]
        if not (torch.cat(others, 1) == 0).all() or not same_direction(found, expected):
            raise CutError

        def derivative(chunk: int) -> Float[Tensor, "o d"]:
            return self._derivative(ordered, weights, attending, x, chunk)

        return Joint(attending.output, attending.onward, derivative)

    @cached_property
    def _masks(self) -> list[Bool[Tensor, "heads features"]]:
        """For each layer, on which of its outputs each head depends."""
        masks = []
        for layer, of_heads in zip(self.layers, zip(*self.runs, strict=True), strict=True):
            mask = torch.zeros(len(of_heads), features_of(layer), dtype=torch.bool)
            for head, runs in enumerate(of_heads):
                for start, stop in runs:
                    mask[head, start:stop] = True
            masks.append(mask)
        return masks

    def _derivative(
        self,
        calls: Sequence[Call],
        weights: Sequence[Float[Tensor, "features inputs"]],
        attending: Attending,
        x: Float[Tensor, "d"],
        chunk: int,
    ) -> Float[Tensor, "o d"]:
        """do/dx, by so many directions at a time."""
        matrix = attending.matrix  # A, (heads, i, head_v)
        heads, features, each = matrix.shape
        pulled = matrix.new_zeros(len(self.groups), each, heads, features)
        for index, group in enumerate(self.groups):
            pulled[index][:, list(group)] = matrix[list(group)].permute(2, 0, 1)
        by_outputs = _pulled(attending.moving, [call.output for call in calls], pulled, chunk)
        place = {head: index for index, group in enumerate(self.groups) for head in group}
        by_inputs = []
        for by_output, weight, runs in zip(by_outputs, weights, zip(*self.runs, strict=True), strict=True):
            rows = by_output.reshape(len(self.groups), each, -1)
            by_input = x.new_zeros(heads, each, weight.shape[1])
            for head in range(heads):
                for start, stop in runs[head]:
                    by_input[head] += rows[place[head], :, start:stop] @ weight[start:stop]
            by_inputs.append(by_input.flatten(0, 1))
        return _pulled_to_input(calls, by_inputs, x, chunk)


def find_heads(calls: Sequence[Call], attendings: Sequence[Attending], x: Float[Tensor, "d"]) -> Heads | None:
    """The heads of a block's attention, from a graph that is whole; None where nothing would be saved.

    Args:
        calls: the calls of the block's linear layers.
        attendings: the calls of its attention.
        x: the block's input.
    """
    width = len(x)
    modules = [call.module for call in calls]
    calls = [
        call for call in calls if call.output.requires_grad and call.output.numel() and modules.count(call.module) == 1
    ]
    if len(attendings) != 1 or not attendings[0].moving.requires_grad or x.dtype.itemsize < 4:
        return None
    z, (n_heads, features, each) = attendings[0].moving, attendings[0].matrix.shape
    if width * _products(calls) < SMALLEST_SAVING:
        return None
    calls = _last_before(z, calls)
    if not calls:
        return None
    outputs = [call.output for call in calls]
    depends = [(found != 0).cpu() for found in _pulled_by_head(z, outputs, direction(z))]
    runs = tuple(tuple(_runs(depends_on[head]) for depends_on in depends) for head in range(n_heads))
    if any(len(of_layer) > MOST_RUNS for of_head in runs for of_layer in of_head):
        return None
    groups = _groups(torch.cat(depends, 1))
    before = width * _products(calls)
    after = width * n_heads * each * width + ELEMENTWISE * len(groups) * each * n_heads * features
    for of_head in runs:
        for call, of_layer in zip(calls, of_head, strict=True):
            after += each * sum(stop - start for start, stop in of_layer) * call.entered.shape[-1]
    if before - after < SMALLEST_SAVING:
        return None
    heads = Heads(tuple(call.module for call in calls), runs, groups)
    try:
        heads.joint(calls, attendings[0], x)
    except CutError:  # something else is between the projections and the heads, such as a bound on their outputs
        return None
    return heads


def _products(calls: Sequence[Call]) -> int:
    """The products that one direction takes through layers."""
    return sum(call.output.shape[-1] * call.entered.shape[-1] for call in calls)


def _pulled_by_head(
    z: Float[Tensor, "1 heads i"], outputs: Sequence[Tensor], of_all: Float[Tensor, "1 heads i"]
) -> list[Float[Tensor, "heads features"]]:
    """The part of a direction of z that is of one head, pulled back to the outputs of layers; for each head."""
    own = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[..., None] * of_all
    return _pulled(z, outputs, own)


def _pulled(
    z: Float[Tensor, "1 heads i"],
    outputs: Sequence[Tensor],
    directions: Float[Tensor, "*m heads i"],
    chunk: int | None = None,
) -> list[Float[Tensor, "m features"]]:
    """Directions of z pulled back to the outputs of layers."""

    def pull(one: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(z, outputs, one, retain_graph=True)

    return [found.flatten(1) for found in torch.func.vmap(pull, chunk_size=chunk)(directions.reshape(-1, *z.shape))]


def _pulled_to_input(
    calls: Sequence[Call],
    directions: Sequence[Float[Tensor, "m inputs"]],
    x: Float[Tensor, "d"],
    chunk: int | None = None,
) -> Float[Tensor, "m d"]:
    """Directions at what entered each of some layers pulled back to the block's input, and added."""
    totals: dict[int, tuple[Tensor, Tensor]] = {}
    for call, given in zip(calls, directions, strict=True):
        h, before = totals.get(id(call.entered), (call.entered, None))
        totals[id(h)] = h, given if before is None else before + given
    entered = [h for h, _ in totals.values()]

    def pull(*one: Tensor) -> Float[Tensor, "d"]:
        return torch.autograd.grad(entered, x, one, retain_graph=True)[0]

    return torch.func.vmap(pull, chunk_size=chunk)(*(total.reshape(-1, *h.shape) for h, total in totals.values()))


def _last_before(z: Tensor, calls: Sequence[Call]) -> list[Call]:
    """The layers that z depends on, without those that it depends on through another one."""

    def those_behind(tensor: Tensor, of: Sequence[Call]) -> list[Call]:
        if not of:
            return []
        ones = torch.ones_like(tensor)
        found = torch.autograd.grad(tensor, [c.output for c in of], ones, retain_graph=True, allow_unused=True)
        return [call for call, gradient in zip(of, found, strict=True) if gradient is not None]

    leading = those_behind(z, calls)
    earlier = {
        id(call)
        for last in leading
        for call in those_behind(last.output, [other for other in leading if other is not last])
    }
    return [call for call in leading if id(call) not in earlier]


def _runs(depends: Tensor) -> tuple[Run, ...]:
    """The ranges of a mask that are true.

    Example:
        >>> _runs(torch.tensor([True, True, False, True]))
        ((0, 2), (3, 4))
    """
    edges = torch.diff(depends.int(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero().flatten().tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _groups(depends: Tensor) -> tuple[tuple[int, ...], ...]:
    """Rows of a mask in groups that have no true column in common, each row in the first group that it fits."""
    groups: list[tuple[list[int], Tensor]] = []
    for head, needed in enumerate(depends):
        for members, taken in groups:
            if not (taken & needed).any():
                members.append(head)
                taken |= needed
                break
        else:
            groups.append(([head], needed.clone()))
    return tuple(tuple(members) for members, _ in groups)
