r"""An attention function that records keys and values, then computes a few tokens with all others frozen.

It plugs into transformers by its documented extension points (``AttentionInterface`` and ``AttentionMaskInterface``).
On replay the attention of the moving tokens is replaced by its own first-order expansion at the recorded point (see
``coupling.models.attention_expansion``).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from coupling.models.attention_expansion import Attended, repeat_heads
from coupling.models.attention_replay import replay_groups
from coupling.models.timm_attention import attending_by

NAME = "coupling"
"""The name under which the attention function is registered in transformers."""


HARMLESS = frozenset({
    "dropout", "is_causal", "sliding_window", "position_ids", "cache_position", "use_cache", "output_attentions",
    "output_hidden_states", "return_dict", "position_embeddings", "layer_idx", "layer_head_mask", "is_first_iteration",
    "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "num_items_in_batch", "deterministic",
    "target_dtype",
})  # fmt: skip
"""Keywords of attention calls that change nothing here: the mask already contains their effect, or they are for other
kernels. Any other keyword with a value sends the block to the full sequence."""


MASK_ROWS = 1024
"""Rows of a mask that are looked at together."""


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
        causal: the last mask that was looked at, and whether it says no more than that later tokens are not seen.
    """

    attended: dict[tuple[int, nn.Module], Attended] = field(default_factory=dict)
    foreign: dict[int, str] = field(default_factory=dict)
    own: WeakSet[nn.Module] = field(default_factory=WeakSet)
    block: int | None = None
    causal: tuple[Tensor, bool] | None = None

    def record(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        seen: Attended,
        others: dict[str, Any],
    ) -> Tensor:
        """Keep what the module saw, and return ordinary attention, (prompts, n, heads, head_v)."""
        unknown = sorted(name for name, given in others.items() if name not in HARMLESS and _matters(given))
        if unknown or module in self.own:
            reason = f"its attention takes {unknown[0]}" if unknown else "its attention is of its own kind"
            self._exclude(reason)
            return _eager(module, query, key, value, seen, others)
        parts = self.split(module, key, value, seen)
        if self.block is not None:
            if (self.block, module) in self.attended:
                self._exclude("one attention module is called several times")
            self.attended[self.block, module] = parts[0]
        if seen.softcap is None and seen.sinks is None:
            causal = self._is_causal(seen.mask)  # the kernels then leave half of the work out
            output = nn.functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=None if causal else seen.mask,
                is_causal=causal,
                scale=seen.scaling,
                enable_gqa=key.shape[1] != query.shape[1],
            )
        else:
            output = torch.stack([_mixed(part, row) for part, row in zip(parts, query, strict=True)])
        return output.transpose(1, 2)

    def split(self, module: nn.Module, key: Tensor, value: Tensor, seen: Attended) -> list[Attended]:
        """What the module saw in each prompt; this tape is of one."""
        return [seen]

    def _is_causal(self, mask: Tensor | None) -> bool:
        """Whether a mask is the causal one; models give the same mask to all of their blocks."""
        if mask is None:
            return False
        if self.causal is None or self.causal[0] is not mask:
            self.causal = mask, is_causal(mask)
        return self.causal[1]

    def _exclude(self, reason: str) -> None:
        if self.block is not None:
            self.foreign.setdefault(self.block, reason)

    def attends(self, block: int) -> bool:
        """Whether an attention module was recorded in a block."""
        return any(index == block for index, _ in self.attended)


def is_causal(mask: Tensor) -> bool:
    """Whether an attention mask hides from each token those after it, and changes nothing else.

    Example:
        >>> is_causal(torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()), is_causal(torch.zeros(1, 1, 3, 3))
        (True, False)
    """
    n = mask.shape[-1]
    if mask.ndim != 4 or mask.shape[-2] != n or n < 2:
        return False
    for start in range(0, n, MASK_ROWS):  # a few rows at a time, because a whole mask of a long prompt is large
        part = mask[:, :, start : start + MASK_ROWS]
        seen = torch.ones(part.shape[-2], n, dtype=torch.bool, device=mask.device).tril(start)
        if mask.dtype == torch.bool:
            right = part == seen
        else:
            right = torch.where(seen, part == 0, part <= torch.finfo(mask.dtype).min)
        if not right.all():
            return False
    return True


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
    factor = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    seen = Attended(key[0], value[0], attention_mask, factor, softcap, s_aux)
    return answer(module, query, key, value, seen, others), None


def _matters(value: Any) -> bool:
    """Whether a keyword was given a value that can change the result."""
    return value is not None and value is not False


def _mixed(seen: Attended, query: Float[Tensor, "heads n head"]) -> Float[Tensor, "heads n head_v"]:
    """Attention with a soft cap or sinks, for which there is no kernel."""
    weights, _ = seen.weights(query)
    return torch.matmul(weights.to(seen.value.dtype), repeat_heads(seen.value, len(query)))


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
    return replaying_groups([tape], block, rows[None])


def replaying_groups(tapes: Sequence[Tape], block: int, rows: Int[Tensor, "g r"]) -> AbstractContextManager[None]:
    """As ``replaying``, for groups of tokens of one or several recordings that move independently of each other.

    Args:
        tapes: for each group the tape of its recording, or one of all groups.
        block: the block.
        rows: the tokens of each group.
    """

    def answer(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, seen: Attended, others: dict[str, Any]
    ) -> Tensor:
        return replay_groups([tape.attended[block, module] for tape in tapes], query, key, value, rows)

    return _answering(answer)


@contextmanager
def implementation(model: nn.Module, attention: str | None) -> Iterator[None]:
    """Evaluation mode with the named attention and eager experts, whose derivatives exist; then the previous state."""
    modules = list(model.modules())
    configs = {id(module.config): module.config for module in modules if isinstance(module, PreTrainedModel)}
    for config in list(configs.values()):
        for name in config.sub_configs:
            sub = getattr(config, name, None)
            if sub is not None:
                configs[id(sub)] = sub
    before = [(c, c._attn_implementation_internal, c._experts_implementation_internal) for c in configs.values()]
    training = [module for module in modules if module.training]
    for config, _, _ in before:
        if attention is not None:
            config._attn_implementation_internal = attention
        config._experts_implementation_internal = "eager"
    if training:
        model.eval()
    try:
        with attending_by(model, _attention) if attention == NAME else nullcontext():
            yield
    finally:
        for config, attention_before, experts_before in before:
            config._attn_implementation_internal = attention_before
            config._experts_implementation_internal = experts_before
        for module in training:
            module.training = True
