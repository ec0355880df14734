"""Attention of a few moving tokens, in place of the module's own, with every other token as it was recorded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coupling.models.attention_expansion import Attended, HeadwiseLinear, first_orders, flatten_heads, repeat_heads


@dataclass(frozen=True)
class Attending:
    """One call of attention on a single token that moves.

    Attributes:
        moving: z, the token's query, key and value in each head side by side, with the graph behind it.
        matrix: A, the derivative of each head's output by its z: o = z A.
        output: o, with the graph behind it.
        onward: what the block went on with: o, or the same values cut from the graph.
    """

    moving: Float[Tensor, "1 heads i"]
    matrix: Float[Tensor, "heads i head_v"]
    output: Float[Tensor, "1 1 heads head_v"]
    onward: Float[Tensor, "1 1 heads head_v"]


_noted: ContextVar[tuple[list[Attending], bool] | None] = ContextVar("coupling_attending", default=None)


@contextmanager
def attending(*, cut: bool = False) -> Iterator[list[Attending]]:
    """A context in which calls of attention on a single token are noted, and outputs cut from the graph if asked."""
    calls: list[Attending] = []
    token = _noted.set((calls, cut))
    try:
        yield calls
    finally:
        _noted.reset(token)


class AmbiguousKeysError(Exception):
    """It cannot be told whether the keys are those of the moving tokens, or all keys of the recording."""


def replay_groups(
    seen: Sequence[Attended], query: Tensor, key: Tensor, value: Tensor, rows: Int[Tensor, "g r"]
) -> Tensor:
    """Attention of groups of tokens that move independently of each other, expanded to first order.

    Args:
        seen: what stays frozen: for each group, or once where it is the same for all of them.
        query: the queries of all groups, one after the other; (1, heads, g * r, head).
        key: their keys, or all keys of the recording.
        value: their values, or all values.
        rows: the tokens of each group.

    Returns:
        (1, g * r, heads, head_v)

    Raises:
        AmbiguousKeysError: if several groups have as many tokens together as the recording has keys.
    """
    (groups, r), heads = rows.shape, query.shape[1]
    n_keys = seen[0].key.shape[1]
    # all keys of the recording: they are of other tokens (cross-attention), or of an earlier block
    keys_move = key.shape[2] == groups * r or key.shape[2] != n_keys
    if groups > 1 and key.shape[2] == groups * r == n_keys:
        raise AmbiguousKeysError
    query = _grouped(query, groups)
    moving = flatten_heads(query)
    if keys_move:
        if (
            key.shape[2] > groups * r
        ):  # behind those of the moving tokens there may be keys that do not move (T5Gemma 2)
            key, value = key[:, :, : groups * r], value[:, :, : groups * r]
        key, value = (repeat_heads(x.squeeze(0), heads)[None] for x in (key, value))
        # z = (q_t, k_t, v_t) of the moving tokens, flattened per head
        moving = torch.cat([moving, *(flatten_heads(_grouped(x, groups)) for x in (key, value))], -1)
    matrix, output = first_orders(seen, query.detach(), rows, keys_move=keys_move)
    # o + (z - sg(z)) A: the recorded value, with the derivative A = do/dz
    change = HeadwiseLinear.apply(
        (moving - moving.detach()).reshape(groups * heads, 1, -1), matrix.to(query.dtype).flatten(0, 1)
    )
    output = (output.to(query.dtype) + change.reshape(groups, heads, r, -1)).transpose(1, 2).flatten(0, 1)[None]
    noted = _noted.get()
    if noted is None or groups * r > 1:
        return output
    calls, is_cut = noted
    onward = output.detach().requires_grad_() if is_cut else output
    calls.append(Attending(moving, matrix.to(query.dtype).squeeze(0), output, onward))
    return onward


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(1, heads, g * r, e) as (g, heads, r, e)."""
    # The derivative of x[0] would write every direction's gradient into a tensor of zeros; that of squeeze is a view.
    return x.squeeze(0).unflatten(1, (groups, -1)).transpose(0, 1)
