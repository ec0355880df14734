"""A language model's head: the loss of the tokens of a prompt, and the unembedding that reads the residual stream."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coupling.errors import CouplingError
from coupling.models.checkpoint import Checkpoint
from coupling.models.recording import Recording
from coupling.numerics import exact_numerics

CLOSE = 1e-3
"""The largest difference, relative to the logits' spread, between logits read from the last layer and the model's."""


@dataclass(frozen=True)
class Loss:
    """How well a model predicts the tokens of a prompt.

    Attributes:
        nats_per_token: the mean cross-entropy of the tokens that are predicted.
        bits_per_byte: the same information per byte of their text, which compares models with different tokenizers.
        tokens: the number of tokens that are predicted.
    """

    nats_per_token: float
    bits_per_byte: float
    tokens: int


def head_of(checkpoint: Checkpoint) -> nn.Module:
    """The whole language model of a checkpoint, with the blocks that are measured inside it.

    Raises:
        CouplingError: if it has no language-model head that the checkpoint's weights belong to.
    """
    whole = checkpoint.with_head() if checkpoint.with_head is not None else None
    if whole is None:
        raise CouplingError(
            f"{checkpoint.name} has no language-model head: its configuration names {_architecture(checkpoint.model)}, "
            "which does not predict tokens"
        )
    return whole


def _architecture(model: Any) -> str:
    names = getattr(getattr(model, "config", None), "architectures", None) or [type(model).__name__]
    return str(names[0])


@exact_numerics()
def prompt_loss(whole: nn.Module, tokenizer: Any, arguments: dict[str, Any]) -> Loss:
    """The loss of a prompt's tokens, each predicted from those before it; special tokens are not predicted.

    Args:
        whole: a causal language model (``head_of``).
        tokenizer: its tokenizer.
        arguments: the prompt as keywords of the forward pass; ``input_ids`` (1, n).

    Returns:
        NaN where no token is predicted.
    """
    ids = arguments["input_ids"]
    logits = _logits(whole, arguments)[: ids.shape[1]]
    losses = nn.functional.cross_entropy(logits[:-1].double(), ids[0, 1:], reduction="none")
    special = set(getattr(tokenizer, "all_special_ids", ()))
    predicted = torch.tensor([index not in special for index in ids[0, 1:].tolist()], device=ids.device)
    count = int(predicted.sum())
    text = tokenizer.decode(ids[0].tolist(), skip_special_tokens=True)
    first = int(ids[0, 0])
    known = "" if first in special else tokenizer.decode([first])  # it is read, not predicted
    size = len(text.encode("utf-8", "replace")) - len(known.encode("utf-8", "replace"))
    if not count or size <= 0:
        return Loss(math.nan, math.nan, 0)
    nats = float(losses[predicted].sum())
    return Loss(nats / count, nats / math.log(2) / size, count)


@torch.no_grad()
def _logits(whole: nn.Module, arguments: dict[str, Any]) -> Float[Tensor, "n vocabulary"]:
    """What the model predicts at every token."""
    result = whole(**arguments)
    logits = getattr(result, "logits", None)
    if logits is None:
        raise CouplingError(f"{type(whole).__name__} returns no logits, so it does not predict tokens")
    return logits[0]


@dataclass(frozen=True)
class Unembedding:
    """The final norm and the output embedding: what turns the residual stream at the last layer into logits.

    Attributes:
        norm: the final norm; None where there is none.
        output: the output embedding.
    """

    norm: nn.Module | None
    output: nn.Module

    @torch.no_grad()
    def __call__(self, stream: Float[Tensor, "n d"]) -> Float[Tensor, "n vocabulary"]:
        """Logits of vectors of the residual stream."""
        weight = next(self.output.parameters())
        stream = stream.to(weight)
        return self.output(stream if self.norm is None else self.norm(stream))


@exact_numerics()
def find_unembedding(whole: nn.Module, blocks: list[nn.Module], recording: Recording, arguments: Any) -> Unembedding:
    """The unembedding of a language model, checked: from the last layer it must give the model's own logits.

    Args:
        whole: a causal language model (``head_of``).
        blocks: its residual blocks.
        recording: one pass of them.
        arguments: the keywords of that pass.

    Raises:
        CouplingError: if no norm between the last block and the output embedding reproduces the logits.
    """
    embeddings: Any = getattr(whole, "get_output_embeddings", None)
    output = None if embeddings is None else embeddings()
    if output is None:
        raise CouplingError(f"{type(whole).__name__} has no output embedding that the residual stream could be read by")
    expected = _logits(whole, arguments)
    last = recording.trajectory[-1]
    for norm in [*_norms_beside(whole, blocks), None]:
        unembedding = Unembedding(norm, output)
        try:
            found = unembedding(last)
        except RuntimeError:  # a norm of another width
            continue
        if found.shape == expected.shape and _agree(found.double(), expected.double(), whole):
            return unembedding
    raise CouplingError(
        f"no norm of {type(whole).__name__} turns its last layer into its logits, so its residual stream cannot be "
        "read as tokens"
    )


def _norms_beside(whole: nn.Module, blocks: list[nn.Module]) -> list[nn.Module]:
    """Modules that stand beside the list of blocks, or above it, and are norms; the last first."""
    found = []
    inside = {id(module) for block in blocks for module in block.modules()}
    for module in whole.modules():
        for name, child in module.named_children():
            if id(child) not in inside and ("norm" in type(child).__name__.lower() or "ln_f" in name):
                found.append(child)
    return found[::-1]


def _agree(found: Float[Tensor, "n v"], expected: Float[Tensor, "n v"], whole: nn.Module) -> bool:
    """Whether two logits are equal, after a soft cap or a scale that the configuration names."""
    config = getattr(whole, "config", None)
    cap = getattr(config, "final_logit_softcapping", None)
    scales = [getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "output_multiplier_scale")]
    candidates = [found, *(found * s for s in scales if s), *(found / s for s in scales if s)]
    candidates += [cap * torch.tanh(found / cap)] if cap else []
    spread = float(expected.std()) or 1.0
    return any(float((one - expected).abs().max()) <= CLOSE * spread for one in candidates)
