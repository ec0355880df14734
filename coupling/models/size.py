"""How large a configuration says that its model is: an absurd one is refused before anything is built."""

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PretrainedConfig

from coupling.errors import CouplingError
from coupling.models.folder import Found
from coupling.untrusted import clean, quoted

MOST_BLOCKS = 4096
"""The most blocks, and experts of a block; the deepest published models have 1,000."""
MOST_OTHERS = 2**31 - 1
"""The most of anything else that is counted: tokens, positions, entries of a vector."""
COUNTED = re.compile(
    r"(?:^|_)(?:n|num|encoder|decoder)_(?:\w+_)?(?:layers?|blocks?|experts?)$|^(?:n_)?layers?$|^depths?$"
)
"""Keys of a configuration that say how many modules are built."""
NUMBER_OF = re.compile(r"(?:^|_)(?:experts?_per_tok|per_tok|shared_layers|kv_shared_layers)(?:$|_)")
"""Keys that look like these, but count something else."""
SLACK = 8
"""How many times more parameters than numbers in the weights a configuration may ask for: layers may be shared."""
SUSPICIOUS = 10**8
"""Parameters below which the weights are not counted."""


def check_counts(content: Any, name: str) -> None:
    """Check the numbers in a configuration, as it was read from its file.

    Args:
        content: the JSON of ``config.json``.
        name: what the user called the checkpoint.

    Raises:
        CouplingError: if one is beyond every model.
    """
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            stack += list(item.values())
            for key, value in item.items():
                if not isinstance(value, (int, float)) or isinstance(value, bool):
                    continue
                counts = COUNTED.search(key) is not None and NUMBER_OF.search(key) is None
                most = MOST_BLOCKS if counts else MOST_OTHERS
                if value > most and (counts or isinstance(value, int)) and not _is_length_limit(key):
                    raise CouplingError(
                        f"the configuration of {name} says {clean(key, 60)} = {quoted(value)}, and at most {most:,} "
                        "are supported"
                    )


def _is_length_limit(key: str) -> bool:
    """Whether a key limits lengths or seeds something, where a very large number means that there is no limit."""
    return "max" in key or "seed" in key or "id" in key.split("_") or "window" in key


def least_parameters(config: PretrainedConfig) -> int:
    """A lower bound on the parameters of a model: its embeddings, and two matrices each of attention and MLP per block.

    Args:
        config: the model's configuration; what it does not say counts as nothing.
    """
    text = config.get_text_config()

    def number(*names: str) -> int:
        values = (getattr(text, name, None) for name in names)
        return next((int(value) for value in values if isinstance(value, int) and value > 0), 0)

    width, blocks = number("hidden_size"), number("num_hidden_groups", "num_hidden_layers")
    heads = number("num_attention_heads")
    head = number("head_dim") or (width // heads if heads else 0)
    attention = 2 * width * heads * head  # of queries and of outputs
    mlp = 2 * width * number("moe_intermediate_size", "intermediate_size")
    embedding = number("vocab_size") * number("word_embed_proj_dim", "embedding_size", "hidden_size")
    return embedding + blocks * (attention + mlp)


def check_size(
    name: str, config: PretrainedConfig, found: Found | None, precision: torch.dtype, device: str | None
) -> None:
    """Check that the model of a configuration can exist here, and that its weights can be those beside it.

    Args:
        name: what the user called the checkpoint.
        config: the configuration.
        found: the weights that will be loaded; None where they are not known, or will be drawn at random.
        precision: the dtype that they will have.
        device: where the model will be; None where its blocks stay on disk.

    Raises:
        CouplingError: if it asks for more blocks than any model has, more memory than there is, or far more parameters
            than the weights contain.
    """
    text = config.get_text_config()
    check_counts({key: value for key, value in vars(text).items() if isinstance(value, int)}, name)
    parameters = least_parameters(config)
    needed, there = parameters * precision.itemsize, memory_of(device) if device is not None else None
    if there is not None and needed > there:
        raise CouplingError(
            f"the configuration of {name} asks for at least {parameters / 1e9:,.1f} billion parameters, which take "
            f"{needed / 2**30:,.0f} GiB, and {'the machine' if device == 'cpu' else device} has "
            f"{there / 2**30:,.0f} GiB"
        )
    stored = stored_numbers(found) if found is not None and parameters > SUSPICIOUS else None
    if stored is not None and parameters > SLACK * stored and not hasattr(config, "quantization_config"):
        raise CouplingError(
            f"the configuration of {name} asks for at least {parameters:,} parameters, and its weights contain "
            f"{stored:,} numbers; they are not this configuration's"
        )


def stored_numbers(found: Found) -> int | None:
    """How many numbers files of safetensors contain, from their headers; None for other weights."""
    if found.form != "safetensors":
        return None
    total = 0
    for file in found.files:
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - it is no dictionary
                size = 1
                for length in opened.get_slice(key).get_shape():
                    size *= length
                total += size
    return total


def memory_of(device: str) -> int | None:
    """The memory of a device in bytes, and for the CPU that of the machine or of the container; None if not known."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)
    if device != "cpu" or "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory
