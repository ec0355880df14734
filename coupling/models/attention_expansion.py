r"""Attention expanded to first order at a recorded point.

On replay, attention of the moving tokens is replaced by its own first-order expansion at the recorded point,

.. math:: o_t + \mathrm{d}o_t, \qquad
    \mathrm{d}o_t = \sum_j p_{tj}\,\mathrm{d}\ell_{tj}\,(v_j - o_t) + \sum_{s} p_{ts}\,\mathrm{d}v_s, \qquad
    \mathrm{d}\ell_{tj} = \alpha\, c_{tj} (k_j \cdot \mathrm{d}q_t + q_t \cdot \mathrm{d}k_j)

(p: attention weights, alpha: scaling, c: slope of the soft cap). It has the same value and the same derivative as
attention itself, and is one small matrix per head, so that its cost does not depend on the length of the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Attended:
    """What one attention module saw: everything that stays frozen while a token moves.

    Attributes:
        key: keys of all tokens, after rotary positions.
        value: values of all tokens.
        mask: additive or boolean attention mask, (1, 1 or heads, n, n); None for none.
        scaling: alpha, the factor of the logits.
        softcap: the soft cap of the logits, as in Gemma 2; None for none.
        sinks: one learned logit per head that takes part in the softmax, as in GPT-OSS; None for none.
    """

    key: Float[Tensor, "key_heads n head"]
    value: Float[Tensor, "key_heads n head_v"]
    mask: Tensor | None
    scaling: float
    softcap: float | None
    sinks: Float[Tensor, "heads"] | None

    def bias(self, rows: Int[Tensor, "r"] | None = None) -> Tensor | None:
        """The additive mask, (1 or heads, rows, n)."""
        if self.mask is None:
            return None
        mask = self.mask[0] if rows is None else self.mask[0][:, rows]
        if mask.dtype == torch.bool:
            return torch.zeros_like(mask, dtype=self.key.dtype).masked_fill(~mask, torch.finfo(self.key.dtype).min)
        return mask

    def weights(
        self, query: Float[Tensor, "heads r head"], rows: Int[Tensor, "r"] | None = None
    ) -> tuple[Float[Tensor, "heads r n"], Float[Tensor, "heads r n"] | float]:
        """Attention weights of some queries, and the slope of the soft cap at each logit (1 without a soft cap)."""
        return self.weights_of(query, repeat_heads(self.key, len(query)), self.bias(rows))

    def weights_of(
        self, query: Float[Tensor, "*g heads r head"], key: Float[Tensor, "*g heads n head"], bias: Tensor | None
    ) -> tuple[Float[Tensor, "*g heads r n"], Float[Tensor, "*g heads r n"] | float]:
        """As ``weights``, of queries, keys and masks that are given; there may be axes in front of the heads."""
        # l_tj = alpha q_t . k_j, in float32 at least, as transformers' eager attention computes its softmax
        logits = torch.matmul(query, key.mT).float() if query.dtype.itemsize < 4 else torch.matmul(query, key.mT)
        logits = logits * self.scaling
        slope: Tensor | float = 1.0
        if self.softcap is not None:
            # l -> s tanh(l / s), with the slope 1 - tanh(l / s)^2
            capped = torch.tanh(logits / self.softcap)
            logits, slope = self.softcap * capped, 1 - capped**2
        if bias is not None:
            logits = logits + bias
        if self.sinks is not None:
            # p_tj = exp(l_tj) / (exp(sink) + sum_i exp(l_ti)): the sink takes its share and contributes no value
            sinks = self.sinks[:, None, None].to(logits.dtype).expand(*logits.shape[:-1], 1)
            return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1], slope
        return logits.softmax(-1), slope


def first_order(
    seen: Attended, query: Float[Tensor, "heads r head"], rows: Int[Tensor, "r"], *, keys_move: bool = True
) -> tuple[Float[Tensor, "heads i o"], Float[Tensor, "heads r head_v"]]:
    """The derivative of the rows' attention with respect to their own queries, keys and values; and its value.

    Args:
        seen: everything that stays frozen.
        query: the queries of the rows.
        rows: the tokens that move.
        keys_move: whether keys and values move with them; those of other tokens (cross-attention) and of other blocks
            do not, and the derivative is by the queries alone.
    """
    matrix, output = first_orders([seen], query[None], rows[None], keys_move=keys_move)
    return matrix[0], output[0]


def first_orders(
    seen: Sequence[Attended],
    query: Float[Tensor, "g heads r head"],
    rows: Int[Tensor, "g r"],
    *,
    keys_move: bool = True,
) -> tuple[Float[Tensor, "g heads i o"], Float[Tensor, "g heads r head_v"]]:
    """As ``first_order``, for several groups of rows that move independently of each other.

    Args:
        seen: everything that stays frozen: for each group, or once where it is the same for all of them.
        query: the queries of the rows.
        rows: the tokens that move in each group.
        keys_move: see ``first_order``.
    """
    groups, heads, r, _ = query.shape
    one = seen[0]
    key, value = (
        torch.stack([repeat_heads(getattr(item, name), heads) for item in seen]) for name in ("key", "value")
    )  # of one element where all groups have the same
    biases = [item.bias(moving) for item, moving in zip([*seen, *[one] * (groups - len(seen))], rows, strict=True)]
    bias = None if biases[0] is None else torch.stack([bias for bias in biases if bias is not None])
    weights, slope = one.weights_of(query, key, bias)  # p_tj and c_tj
    key, value, query = key.to(weights.dtype), value.to(weights.dtype), query.to(weights.dtype)
    output = torch.matmul(weights, value)  # o_t = sum_j p_tj v_j
    # The softmax's derivative is do_t / dl_tj = p_tj (v_j - o_t). The factor in front of (v_j - o_t), with the slope
    # of the soft cap and the scaling of the logits:
    pull = weights * slope * one.scaling  # alpha c_tj p_tj
    # By the query: do_t / dq_t = sum_j alpha c_tj p_tj k_j (v_j - o_t)^T
    by_query = torch.stack(
        [(pull[:, :, i, :, None] * key).mT @ (value - output[:, :, i, None]) for i in range(r)], 2
    )  # (g, heads, r, head, head_v)
    if r == 1:
        own = by_query[:, :, 0]
    else:  # a query changes its own output alone
        one_row = torch.eye(r, dtype=key.dtype, device=key.device)
        own = torch.einsum("sr,ghrde->ghsdre", one_row, by_query)
    own = own.reshape(groups, heads, -1, r * value.shape[-1])
    if not keys_move:
        return own, output
    # p, alpha c p and v for keys and values that move: j among the rows
    columns = rows[:, None, None].expand(groups, heads, r, r)
    moved, pulled = weights.gather(-1, columns), pull.gather(-1, columns)
    at_rows = value.expand(groups, *value.shape[1:]).gather(
        2, rows[:, None, :, None].expand(groups, heads, r, value.shape[-1])
    )
    offset = at_rows[:, :, :, None] - output[:, :, None]  # (g, heads, s, r, head_v): v_s - o_r
    unit = torch.eye(value.shape[-1]).to(key)
    blocks = [
        own,
        torch.einsum("ghrs,ghrd,ghsre->ghsdre", pulled, query, offset),  # do_r / dk_s = alpha c_rs p_rs q_r (v_s - o_r)
        torch.einsum("ghrs,de->ghsdre", moved, unit),  # do_r / dv_s = p_rs I
    ]
    return torch.cat([block.reshape(groups, heads, -1, own.shape[-1]) for block in blocks], 2), output


class HeadwiseLinear(torch.autograd.Function):
    """``y[h] = x[h] @ a[h]``, with vmap folded into the rows of x, so that a batch is still one GEMM per head."""

    @staticmethod
    def forward(x: Tensor, a: Tensor) -> Tensor:
        """The product, one matrix per head."""
        return torch.bmm(x, a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep the matrices; the derivative does not need x."""
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The product with the transposed matrices; the matrices themselves are constants."""
        (a,) = ctx.saved_tensors
        return HeadwiseLinear.apply(gradients[0], a.mT), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], x: Tensor, a: Tensor) -> tuple[Tensor, int]:
        """A batch of x folded into its rows."""
        x = x.movedim(in_dims[0], 1)  # (heads, batch, rows, i)
        folded = HeadwiseLinear.apply(x.reshape(len(x), -1, x.shape[-1]), a)
        return folded.reshape(*x.shape[:3], -1), 1


def repeat_heads(x: Float[Tensor, "key_heads n e"], heads: int) -> Float[Tensor, "heads n e"]:
    """Repeat the keys or values of grouped-query attention for every query head."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), dim=0)


def flatten_heads(x: Float[Tensor, "*g heads r e"]) -> Float[Tensor, "*g heads re"]:
    """The rows of each head side by side."""
    return x.flatten(-2)
