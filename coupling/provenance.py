"""The origin of the numbers: what a run's attributes say about the model, its weights and the settings."""

import contextlib
from typing import Any

import torch
import transformers
from torch import nn

from coupling.models.blocks import without_peft
from coupling.models.forward import device_of
from coupling.settings import Settings
from coupling.version import __version__
from coupling.weights_hash import weights_hash


def provenance(model: nn.Module, settings: Settings, *, hash_weights: bool = True) -> dict[str, Any]:
    """The origin of the numbers: the attributes of every run."""
    config = getattr(model, "config", None)
    return {
        "model": getattr(config, "_name_or_path", "") or type(model).__name__,
        "revision": "",
        "commit_hash": getattr(config, "_commit_hash", None) or "",
        "weights_hash": weights_hash(model) if hash_weights else "",
        "architecture": type(model).__name__,
        "parameters": parameter_count(model),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": device_of(model).type,
        "seed": settings.seed,
        "kind": settings.kind,
        "engine_requested": settings.engine,
        "tol": settings.tol,
        "package_version": __version__,
    }


def parameter_count(model: nn.Module) -> int:
    """The number of parameters of a checkpoint, the same however the checkpoint was loaded.

    It is that of the class that the checkpoint was saved as (``architectures`` in its configuration), output matrix
    included; tied weights count once, adapters count too. A model whose configuration names no class counts as it is.
    """
    own = sum(parameter.numel() for parameter in model.parameters())
    config = getattr(model, "config", None)
    names = getattr(config, "architectures", None) or []
    if without_peft(model) is not model or type(model).__name__ in names or not names:
        return own
    whole = getattr(transformers, names[0], None)
    if whole is None:
        return own
    # A class that cannot be built without weights counts as it was loaded.
    with contextlib.suppress(Exception), torch.device("meta"):
        return max(own, sum(parameter.numel() for parameter in whole(config).parameters()))
    return own
