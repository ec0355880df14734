"""Models that diverged in training: the error, and how divergence is distinguished from other failures."""

from typing import Any

import torch

from coupling.analyses.rl.config import ProbeConfig
from coupling.analyses.rl.data import probe_texts
from coupling.errors import DivergedError


def diverged(step: int, reason: str) -> DivergedError:
    """The error for a model that diverged at a step."""
    return DivergedError(
        f"step {step}: the model diverged: {reason}; try a smaller trainer.learning_rate or trainer.max_grad_norm"
    )


def find_divergence(trainer: Any, error: Exception) -> str | None:
    """Whether training failed because the model diverged.

    Args:
        trainer: the trainer in which training failed.
        error: the error that it raised.

    Returns:
        The part of the model that is not finite; None if nothing is found.
    """
    try:
        bad = _bad_parameters(trainer.model)
        if bad:
            return f"{len(bad)} parameters contain a NaN or an infinity, among them {bad[0]}"
        # Sampling from probabilities that are not finite is a RuntimeError of torch, as many other failures are.
        if isinstance(error, RuntimeError) and not _has_finite_logits(trainer):
            return "its next-token probabilities are not finite"
    except RuntimeError:  # the accelerator itself has failed, and cannot compute the answer
        return None
    return None


def _bad_parameters(model: torch.nn.Module) -> list[str]:
    return [
        name
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not torch.isfinite(weight).all()
    ]


@torch.no_grad()
def _has_finite_logits(trainer: Any) -> bool:
    """Whether the model predicts finite logits on the first prompts of the data.

    A model that is sharded over processes is taken to do so: its forward pass needs all processes, and not all of them
    may have failed.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return True
    tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    for text in probe_texts(ProbeConfig(), trainer.train_dataset):
        ids = tokenizer(text, return_tensors="pt")["input_ids"].to(trainer.model.device)
        if not torch.isfinite(trainer.model(input_ids=ids).logits).all():
            return False
    return True
