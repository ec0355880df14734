"""The origin of the numbers: what a run's attributes say about the model, its weights and the settings."""

import contextlib
import hashlib
import json
from typing import Any

import torch
import transformers
from torch import nn

from coupling.models.blocks import without_peft
from coupling.models.forward import device_of
from coupling.models.timm_attention import is_timm
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
        "config_hash": config_hash(config) or timm_hash(model),
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


NOT_THE_MODEL = ("_name_or_path", "_commit_hash", "transformers_version")
"""Entries of a configuration that say where it came from; they change no number."""
CHANGING = {"training", "fused_attn"}
"""Attributes of timm's modules that depend on how and where they are used."""


def config_hash(config: Any) -> str:
    """SHA-256 over a model's configuration; empty for a model that has none."""
    if not hasattr(config, "to_dict"):
        return ""
    content = {key: value for key, value in config.to_dict().items() if key not in NOT_THE_MODEL}
    return content_hash(content)


def timm_hash(model: nn.Module) -> str:
    """SHA-256 over the numbers and texts in the modules of a timm model; empty for any other.

    timm's models have no configuration, and the number of heads, for one, is not seen in the weights.
    """
    if not is_timm(model):
        return ""
    content = {}
    for name, module in model.named_modules():
        values = {key: value for key, value in vars(module).items() if isinstance(value, (int, float, str, tuple))}
        content[name] = [type(module).__name__, {key: values[key] for key in values.keys() - CHANGING}]
    return content_hash(content)


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over a tokenizer as it was loaded: its class, its special tokens, its vocabulary and all its rules."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules: Any = backend.to_str()
    else:  # of one that is written in Python, the vocabulary
        rules = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else ""
    return content_hash([type(tokenizer).__name__, getattr(tokenizer, "special_tokens_map", {}), rules])


def inputs_hash(text: str, inputs: dict[str, Any]) -> str:
    """SHA-256 over a prompt's text and everything that the model is given for it, token ids above all."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(inputs.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def content_hash(content: Any) -> str:
    """SHA-256 over a value as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value that JSON does not know, the same in every process."""
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


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
