"""Small random configurations: the defaults of a configuration class, with small values where sizes are named."""

import copy
from typing import Any

from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks.conformance.overrides import OVERRIDES, SMALL

VOCABULARY = 128
LAYERS = 4
FIRST_SPECIAL_TOKEN = 100
"""Prompts use token ids below this one; special tokens of images and sounds are above."""


def small_config(model_type: str, class_name: str = "", table: dict[str, int] = SMALL) -> PreTrainedConfig:
    """A small configuration of a model type, by a table of small values."""
    default = CONFIG_MAPPING[model_type]()
    overrides = OVERRIDES.get(model_type, {}) | OVERRIDES.get(class_name, {})
    return type(default)(**_small(default, overrides, table))


def _small(config: PreTrainedConfig, overrides: dict[str, Any], table: dict[str, int]) -> dict[str, Any]:
    """The keyword arguments of a small configuration like the given one."""
    values = {key: value for key, value in vars(config).items() if not key.startswith("_")}
    keywords: dict[str, Any] = {}
    special = FIRST_SPECIAL_TOKEN
    heads = 4 if values.get("kv_lora_rank") else 2  # latent attention has one key head per query head
    layers = _depth(values)
    chosen = _layers(values, layers) if layers else []
    for key, value in values.items():
        if isinstance(value, PreTrainedConfig):
            inner = OVERRIDES.get(value.model_type, {}) | overrides.get(key, {})
            keywords[key] = type(value)(**_small(value, inner, table))
        elif key in overrides:
            keywords[key] = overrides[key]
        elif key.endswith(("token_id", "token_index")) and _is_int(value) and value >= VOCABULARY - 8:
            keywords[key], special = special, special + 1
        elif key in ("eos_token_id", "bos_token_id", "pad_token_id") and isinstance(value, (list, tuple)):
            keywords[key] = 1
        elif key == "rope_parameters" and isinstance(value, dict):
            keywords[key] = _rope(value)
        elif layers and isinstance(value, (list, tuple)) and len(value) == layers and layers > 4:
            keywords[key] = type(value)(value[index] for index in chosen)
        elif key in table and _is_number(value) and value:
            keywords[key] = heads if key == "num_key_value_heads" else table[key]
        elif key in ("image_size", "pretrain_image_size") and isinstance(value, (list, tuple)) and key in table:
            keywords[key] = type(value)(table[key] for _ in value)
        elif key == "depths":
            keywords[key] = type(value)(min(2, int(depth)) for depth in value)
    missing = {key: value for key, value in overrides.items() if key not in values}
    return keywords | missing


def _depth(values: dict[str, Any]) -> int | None:
    """The default number of layers."""
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"):
        if _is_int(values.get(key)):
            return values[key]
    return None


def _layers(values: dict[str, Any], layers: int) -> list[int]:
    """Which of the default layers to keep: first those of kinds not seen before, in order, then the first ones."""
    lists = [v for v in values.values() if isinstance(v, (list, tuple)) and len(v) == layers]
    kinds: list[tuple[str, ...]] = (
        [tuple(map(str, kind)) for kind in zip(*lists, strict=True)] if lists else [()] * layers
    )
    new = [index for index in range(layers) if kinds.index(kinds[index]) == index][:LAYERS]
    rest = [index for index in range(layers) if index not in new][: max(0, LAYERS - len(new))]
    return sorted(new + rest)


def _rope(parameters: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings for heads of 8 coordinates."""
    parameters = copy.deepcopy(parameters)
    for inner in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        if inner.get("mrope_section"):
            inner["mrope_section"] = [2, 1, 1]
    return parameters


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
