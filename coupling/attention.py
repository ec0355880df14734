r"""An attention function that records keys and values, then answers for a few tokens with all others frozen.

It plugs into transformers by its documented extension points (``AttentionInterface`` and ``AttentionMaskInterface``).
On replay the attention of the moving tokens is replaced by its own first-order expansion at the recorded point,

.. math:: o_t + \mathrm{d}o_t, \qquad
    \mathrm{d}o_t = \sum_j p_{tj}\,\mathrm{d}\ell_{tj}\,(v_j - o_t) + \sum_{s} p_{ts}\,\mathrm{d}v_s, \qquad
    \mathrm{d}\ell_{tj} = \alpha\, c_{tj} (k_j \cdot \mathrm{d}q_t + q_t \cdot \mathrm{d}k_j)

(p: attention weights, alpha: scaling, c: slope of the soft cap), which has the same value and the same derivative
as attention itself, and is one small matrix a head: its cost does not depend on the length of the prompt.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

NAME = "coupling"
"""The name under which the attention function is registered in transformers."""


@dataclass(frozen=True)
class Attended:
    """What one attention module saw: everything that stays frozen while a token moves."""

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
        """Attention weights of some queries, and the slope of the soft cap at each logit (1 without one)."""
        key = _repeat(self.key, len(query))
        logits = torch.matmul(query, key.mT).float() if query.dtype.itemsize < 4 else torch.matmul(query, key.mT)
        logits = logits * self.scaling
        slope: Tensor | float = 1.0
        if self.softcap is not None:
            capped = torch.tanh(logits / self.softcap)
            logits, slope = self.softcap * capped, 1 - capped**2
        bias = self.bias(rows)
        if bias is not None:
            logits = logits + bias
        if self.sinks is not None:
            sinks = self.sinks[:, None, None].to(logits.dtype).expand(*logits.shape[:2], 1)
            return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1], slope
        return logits.softmax(-1), slope


@dataclass
class Tape:
    """The attention calls of one forward pass, by module."""

    attended: dict[nn.Module, Attended] = field(default_factory=dict)
    repeated: set[nn.Module] = field(default_factory=set)

    def record(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, seen: Attended) -> Tensor:
        """Keep what the module saw and return plain attention, (1, n, heads, head_v)."""
        if module in self.attended:
            self.repeated.add(module)
        self.attended[module] = seen
        if seen.softcap is None and seen.sinks is None:
            output = nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=seen.mask, scale=seen.scaling, enable_gqa=key.shape[1] != query.shape[1]
            )
        else:
            weights, _ = seen.weights(query[0])
            output = torch.matmul(weights.to(value.dtype), _repeat(value[0], query.shape[1]))[None]
        return output.transpose(1, 2)

    def replay(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, rows: Int[Tensor, "r"]) -> Tensor:
        """Attention of the tokens ``rows`` alone, expanded to first order; (1, r, heads, head_v)."""
        seen = self.attended[module]
        heads, r, _head = query.shape[1:]
        key, value = _repeat(key[0], heads), _repeat(value[0], heads)
        moving = torch.cat([_flat(query[0]), _flat(key), _flat(value)], -1)
        matrix, output = _first_order(seen, query[0].detach(), rows)
        output = output.to(query.dtype) + (
            _HeadwiseLinear.apply((moving - moving.detach())[:, None], matrix.to(query.dtype))
            .reshape(heads, r, -1)
        )  # fmt: skip
        return output.transpose(0, 1)[None]


def _first_order(
    seen: Attended, query: Float[Tensor, "heads r head"], rows: Int[Tensor, "r"]
) -> tuple[Float[Tensor, "heads i o"], Float[Tensor, "heads r head_v"]]:
    """The derivative of the rows' attention by their own queries, keys and values; and its value."""
    heads, r, _ = query.shape
    key, value = _repeat(seen.key, heads), _repeat(seen.value, heads)
    weights, slope = seen.weights(query, rows)
    key, value, query = key.to(weights.dtype), value.to(weights.dtype), query.to(weights.dtype)
    output = torch.matmul(weights, value)
    pull = weights * slope * seen.scaling  # d output / d logit, before the factor (v - o)
    moved, pulled = weights[..., rows], pull[..., rows]
    by_query = torch.stack(
        [(pull[:, i, :, None] * key).mT @ (value - output[:, i, None]) for i in range(r)], 1
    )  # (heads, r, head, head_v)
    one, unit = torch.eye(r, dtype=key.dtype, device=key.device), torch.eye(value.shape[-1]).to(key)
    offset = value[:, rows, None] - output[:, None]  # (heads, s, r, head_v): v_s - o_r
    blocks = [
        torch.einsum("sr,hrde->hsdre", one, by_query),
        torch.einsum("hrs,hrd,hsre->hsdre", pulled, query, offset),
        torch.einsum("hrs,de->hsdre", moved, unit),
    ]
    return torch.cat([block.reshape(heads, -1, r * value.shape[-1]) for block in blocks], 1), output


class _HeadwiseLinear(torch.autograd.Function):
    """``y[h] = x[h] @ a[h]``, with vmap folded into the rows of x, so that a batch is still one GEMM a head."""

    @staticmethod
    def forward(x, a):
        return torch.bmm(x, a)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, gradient):
        (a,) = ctx.saved_tensors
        return _HeadwiseLinear.apply(gradient, a.mT), None

    @staticmethod
    def vmap(info, in_dims, x, a):
        x = x.movedim(in_dims[0], 1)  # (heads, batch, rows, i)
        folded = _HeadwiseLinear.apply(x.reshape(len(x), -1, x.shape[-1]), a)
        return folded.reshape(*x.shape[:3], -1), 1


def _repeat(x: Float[Tensor, "key_heads n e"], heads: int) -> Float[Tensor, "heads n e"]:
    """Repeat the keys or values of grouped-query attention for every query head."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), dim=0)


def _flat(x: Float[Tensor, "heads r e"]) -> Float[Tensor, "heads re"]:
    return x.reshape(len(x), -1)


_answer: ContextVar[Callable[..., Tensor] | None] = ContextVar("coupling_attention", default=None)


def _attention(module, query, key, value, attention_mask, scaling=None, softcap=None, s_aux=None, **_):
    """The function that transformers calls; what it does depends on who is asking."""
    answer = _answer.get()
    if answer is None:
        raise RuntimeError(f"attention implementation {NAME!r} works only inside coupling.trajectory")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return answer(module, query, key, value, attention_mask, scaling, softcap, s_aux), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, eager_mask)


@contextmanager
def _answering(answer: Callable[..., Tensor]) -> Iterator[None]:
    token = _answer.set(answer)
    try:
        yield
    finally:
        _answer.reset(token)


def recording(tape: Tape) -> AbstractContextManager[None]:
    """While it lasts, attention writes what it sees to the tape."""

    def answer(module, query, key, value, mask, scaling, softcap, sinks):
        seen = Attended(key[0], value[0], mask, scaling, softcap, sinks)
        return tape.record(module, query, key, value, seen)

    return _answering(answer)


def replaying(tape: Tape, rows: Int[Tensor, "r"]) -> AbstractContextManager[None]:
    """While it lasts, attention answers for the tokens ``rows``, every other token frozen as on the tape."""

    def answer(module, query, key, value, *_):
        return tape.replay(module, query, key, value, rows)

    return _answering(answer)


@contextmanager
def implementation(model: nn.Module, attention: str | None) -> Iterator[None]:
    """Evaluation mode with the named attention and eager experts (whose derivatives exist); then all as it was."""
    configs = {id(module.config): module.config for module in model.modules() if isinstance(module, PreTrainedModel)}
    for config in list(configs.values()):
        for name in config.sub_configs:
            sub = getattr(config, name, None)
            if sub is not None:
                configs[id(sub)] = sub
    before = [(c, c._attn_implementation_internal, c._experts_implementation_internal) for c in configs.values()]
    training = [module for module in model.modules() if module.training]
    for config, _, _ in before:
        if attention is not None:
            config._attn_implementation_internal = attention
        config._experts_implementation_internal = "eager"
    model.eval()
    try:
        yield
    finally:
        for config, attention_before, experts_before in before:
            config._attn_implementation_internal = attention_before
            config._experts_implementation_internal = experts_before
        for module in training:
            module.training = True


def supports_interface(model: nn.Module) -> bool:
    """Whether the model's attention goes through transformers' ``AttentionInterface``."""
    models = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    return bool(models) and all(getattr(module, "_supports_attention_backend", False) for module in models)
