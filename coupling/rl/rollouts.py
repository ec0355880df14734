"""TRL's micro-batches of rollouts: which tokens count, and under which policies they have log-probabilities."""

from typing import Any

import torch
from torch import Tensor

MULTIMODAL_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""The entries of TRL's batches that a model that takes images needs, besides the tokens."""


def counted_mask(inputs: dict[str, Any]) -> Tensor:
    """Nonzero where a completion's token counts: it is neither padding nor written by a tool; (batch, token)."""
    mask = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def behavior_logprobs(inputs: dict[str, Any], logprobs: Tensor | None) -> Any:
    """Log-probabilities under the policy that sampled the tokens, in nats, (batch, token).

    Args:
        inputs: a micro-batch of TRL. ``sampling_per_token_logps`` are those that the sampling engine returned, NaN for
            tokens that it could not score; ``old_per_token_logps`` those of the policy when it generated, which TRL
            computes only if the weights change before the tokens are used.
        logprobs: those of the present policy, (batch, token); None if they are not known yet.

    Returns:
        The engine's, and where it has none those of the policy when it generated, which are the present policy's,
        detached, if its weights have not changed since. None if they are the present policy's and not known yet.
    """
    own = proximal_logprobs(inputs, logprobs)
    sampled = inputs.get("sampling_per_token_logps")
    if sampled is None:
        return own
    return sampled if own is None else torch.where(sampled.isnan(), own, sampled)


def proximal_logprobs(inputs: dict[str, Any], logprobs: Tensor | None) -> Any:
    """Log-probabilities under the policy as it was when the rollouts arrived, in nats, (batch, token).

    They are those of the present policy, detached, if its weights have not changed since; None if those are not known.
    The arguments are those of ``behavior_logprobs``.
    """
    own = inputs.get("old_per_token_logps")
    return logprobs.detach() if own is None and logprobs is not None else own
