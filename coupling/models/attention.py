r"""An attention function that records keys and values, then computes a few tokens with all others frozen.

It plugs into transformers by its documented extension points (``AttentionInterface`` and ``AttentionMaskInterface``).
On replay the attention of the moving tokens is replaced by its own first-order expansion at the recorded point,

.. math:: o_t + \mathrm{d}o_t, \qquad
    \mathrm{d}o_t = \sum_j p_{tj}\,\mathrm{d}\ell_{tj}\,(v_j - o_t) + \sum_{s} p_{ts}\,\mathrm{d}v_s, \qquad
    \mathrm{d}\ell_{tj} = \alpha\, c_{tj} (k_j \cdot \mathrm{d}q_t + q_t \cdot \mathrm{d}k_j)

(p: attention weights, alpha: scaling, c: slope of the soft cap). It has the same value and the same derivative as
attention itself, and is one small matrix per head, so that its cost does not depend on the length of the prompt.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

NAME = "coupling"
"""The name under which the attention function is registered in transformers."""


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
        key = _repeat(self.key, len(query))
        # l_tj = alpha q_t . k_j, in float32 at least, as transformers' eager attention computes its softmax
        logits = torch.matmul(query, key.mT).float() if query.dtype.itemsize < 4 else torch.matmul(query, key.mT)
        logits = logits * self.scaling
        slope: Tensor | float = 1.0
        if self.softcap is not None:
            # l -> s tanh(l / s), with the slope 1 - tanh(l / s)^2
            capped = torch.tanh(logits / self.softcap)
            logits, slope = self.softcap * capped, 1 - capped**2
        bias = self.bias(rows)
        if bias is not None:
            logits = logits + bias
        if self.sinks is not None:
            # p_tj = exp(l_tj) / (exp(sink) + sum_i exp(l_ti)): the sink takes its share and contributes no value
            sinks = self.sinks[:, None, None].to(logits.dtype).expand(*logits.shape[:2], 1)
            return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1], slope
        return logits.softmax(-1), slope


HARMLESS = frozenset({
    "dropout", "is_causal", "sliding_window", "position_ids", "cache_position", "use_cache", "output_attentions",
    "output_hidden_states", "return_dict", "position_embeddings", "layer_idx", "layer_head_mask", "is_first_iteration",
    "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "num_items_in_batch", "deterministic",
    "target_dtype",
})  # fmt: skip
"""Keywords of attention calls that change nothing here: the mask already contains their effect, or they are for other
kernels. Any other keyword with a value sends the block to the full sequence."""


class UnknownAttentionError(Exception):
    """An attention call that the recording attention cannot reproduce, in a module without an eager function."""


@dataclass
class Tape:
    """The attention calls of one forward pass, by block and module.

    Attributes:
        attended: what each attention module saw in each block.
        foreign: blocks that cannot be replayed from the tape, with the reason.
        own: modules whose own eager attention is used, because the recording attention does not reproduce it.
        block: the index of the block that is being called; None outside of the blocks.
    """

    attended: dict[tuple[int, nn.Module], Attended] = field(default_factory=dict)
    foreign: dict[int, str] = field(default_factory=dict)
    own: WeakSet[nn.Module] = field(default_factory=WeakSet)
    block: int | None = None

    def record(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        seen: Attended,
        others: dict[str, Any],
    ) -> Tensor:
        """Keep what the module saw, and return ordinary attention, (1, n, heads, head_v)."""
        unknown = sorted(name for name, given in others.items() if name not in HARMLESS and _matters(given))
        if unknown or module in self.own:
            reason = f"its attention takes {unknown[0]}" if unknown else "its attention is of its own kind"
            self._exclude(reason)
            return _eager(module, query, key, value, seen, others)
        if self.block is not None:
            if (self.block, module) in self.attended:
                self._exclude("one attention module is called several times")
            self.attended[self.block, module] = seen
        if seen.softcap is None and seen.sinks is None:
            output = nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=seen.mask, scale=seen.scaling, enable_gqa=key.shape[1] != query.shape[1]
            )
        else:
            weights, _ = seen.weights(query[0])
            output = torch.matmul(weights.to(value.dtype), _repeat(value[0], query.shape[1]))[None]
        return output.transpose(1, 2)

    def _exclude(self, reason: str) -> None:
        if self.block is not None:
            self.foreign.setdefault(self.block, reason)

    def attends(self, block: int) -> bool:
        """Whether an attention module was recorded in a block."""
        return any(index == block for index, _ in self.attended)

    def replay(
        self, block: int, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, rows: Int[Tensor, "r"]
    ) -> Tensor:
        """Attention of the tokens ``rows`` of a block alone, expanded to first order; (1, r, heads, head_v)."""
        seen = self.attended[block, module]
        heads, r, _head = query.shape[1:]
        key, value = _repeat(key[0], heads), _repeat(value[0], heads)
        # z = (q_t, k_t, v_t) of the moving tokens, flattened per head
        moving = torch.cat([_flat(query[0]), _flat(key), _flat(value)], -1)
        matrix, output = _first_order(seen, query[0].detach(), rows)
        # o + (z - sg(z)) A: the recorded value, with the derivative A = do/dz
        change = _HeadwiseLinear.apply((moving - moving.detach())[:, None], matrix.to(query.dtype))
        output = output.to(query.dtype) + change.reshape(heads, r, -1)
        return output.transpose(0, 1)[None]


def _first_order(
    seen: Attended, query: Float[Tensor, "heads r head"], rows: Int[Tensor, "r"]
) -> tuple[Float[Tensor, "heads i o"], Float[Tensor, "heads r head_v"]]:
    """The derivative of the rows' attention with respect to their own queries, keys and values; and its value."""
    heads, r, _ = query.shape
    key, value = _repeat(seen.key, heads), _repeat(seen.value, heads)
    weights, slope = seen.weights(query, rows)  # p_tj and c_tj
    key, value, query = key.to(weights.dtype), value.to(weights.dtype), query.to(weights.dtype)
    output = torch.matmul(weights, value)  # o_t = sum_j p_tj v_j
    # The softmax's derivative is do_t / dl_tj = p_tj (v_j - o_t). The factor in front of (v_j - o_t), with the slope
    # of the soft cap and the scaling of the logits:
    pull = weights * slope * seen.scaling  # alpha c_tj p_tj
    moved, pulled = weights[..., rows], pull[..., rows]  # for keys and values that move: j among the rows
    # By the query: do_t / dq_t = sum_j alpha c_tj p_tj k_j (v_j - o_t)^T
    by_query = torch.stack(
        [(pull[:, i, :, None] * key).mT @ (value - output[:, i, None]) for i in range(r)], 1
    )  # (heads, r, head, head_v)
    one, unit = torch.eye(r, dtype=key.dtype, device=key.device), torch.eye(value.shape[-1]).to(key)
    offset = value[:, rows, None] - output[:, None]  # (heads, s, r, head_v): v_s - o_r
    blocks = [
        torch.einsum("sr,hrde->hsdre", one, by_query),  # a query changes its own output alone
        torch.einsum("hrs,hrd,hsre->hsdre", pulled, query, offset),  # do_r / dk_s = alpha c_rs p_rs q_r (v_s - o_r)^T
        torch.einsum("hrs,de->hsdre", moved, unit),  # do_r / dv_s = p_rs I
    ]
    return torch.cat([block.reshape(heads, -1, r * value.shape[-1]) for block in blocks], 1), output


class _HeadwiseLinear(torch.autograd.Function):
    """``y[h] = x[h] @ a[h]``, with vmap folded into the rows of x, so that a batch is still one GEMM per head."""

    @staticmethod
    def forward(x: Tensor, a: Tensor) -> Tensor:
        return torch.bmm(x, a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (a,) = ctx.saved_tensors
        return _HeadwiseLinear.apply(gradients[0], a.mT), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], x: Tensor, a: Tensor) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 1)  # (heads, batch, rows, i)
        folded = _HeadwiseLinear.apply(x.reshape(len(x), -1, x.shape[-1]), a)
        return folded.reshape(*x.shape[:3], -1), 1


def _repeat(x: Float[Tensor, "key_heads n e"], heads: int) -> Float[Tensor, "heads n e"]:
    """Repeat the keys or values of grouped-query attention for every query head."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), dim=0)


def _flat(x: Float[Tensor, "heads r e"]) -> Float[Tensor, "heads re"]:
    return x.reshape(len(x), -1)


_answer: ContextVar[Callable[..., Tensor] | None] = ContextVar("coupling_attention", default=None)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls; it records or replays, as the context at hand says."""
    answer = _answer.get()
    if answer is None:
        raise RuntimeError(f"attention implementation {NAME!r} works only inside coupling.models.recording")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    seen = Attended(key[0], value[0], attention_mask, scaling, softcap, s_aux)
    return answer(module, query, key, value, seen, others), None


def _matters(value: Any) -> bool:
    """Whether a keyword was given a value that can change the result."""
    return value is not None and value is not False


def _eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, seen: Attended, others: dict[str, Any]
) -> Tensor:
    """The eager attention function of the module's own modeling file.

    Raises:
        UnknownAttentionError: if the file has none.
    """
    function = getattr(sys.modules.get(type(module).__module__), "eager_attention_forward", None)
    if function is None:
        raise UnknownAttentionError(type(module).__name__)
    keywords = {"scaling": seen.scaling} | others
    if seen.softcap is not None:
        keywords["softcap"] = seen.softcap
    if seen.sinks is not None:
        keywords["s_aux"] = seen.sinks
    return function(module, query, key, value, seen.mask, **keywords)[0]


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
    """A context in which attention writes what it sees to the tape."""
    return _answering(tape.record)


def replaying(tape: Tape, block: int, rows: Int[Tensor, "r"]) -> AbstractContextManager[None]:
    """A context in which attention computes the tokens ``rows`` of a block, with every other token as on the tape."""

    def answer(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, seen: Attended, others: dict[str, Any]
    ) -> Tensor:
        return tape.replay(block, module, query, key, value, rows)

    return _answering(answer)


@contextmanager
def implementation(model: nn.Module, attention: str | None) -> Iterator[None]:
    """Evaluation mode with the named attention and eager experts, whose derivatives exist; then the previous state."""
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
