"""A checkpoint's folder on disk: what must be in it before transformers is asked to load it."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from coupling.errors import CouplingError, first_line

WEIGHT_FILES = ("*.safetensors", "*.bin")
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "merges.txt", "spiece*")


def is_local(name: str) -> bool:
    """Whether a model's name means a folder on this machine: it exists, or cannot be a hub id."""
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep != "/" and os.sep in name)
    try:
        return looks_like_path or Path(name).exists()
    except OSError:  # a folder that may not be entered: the check of the folder says so
        return True


def check_checkpoint_folder(folder: Path, name: str, *, weights: bool) -> None:
    """Check that a folder contains a readable configuration and, if wanted, whole weights.

    Args:
        folder: the folder.
        name: what the user called it.
        weights: whether the weights are needed.

    Raises:
        CouplingError: if something is missing or cannot be read.
    """
    try:
        _check_files(folder, name, weights=weights)
    except OSError as error:
        raise CouplingError(f"cannot read {name}: {error.strerror or error}") from None


def check_tokenizer_folder(folder: Path, name: str) -> None:
    """Check that a folder contains a tokenizer.

    Raises:
        CouplingError: if it does not.
    """
    if not any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
        raise CouplingError(f"{name} contains no tokenizer ({', '.join(TOKENIZER_FILES)})")


def _check_files(folder: Path, name: str, *, weights: bool) -> None:
    if not folder.exists():
        raise CouplingError(f"there is no folder {name}; give a folder with config.json and weights, or a hub id")
    if not folder.is_dir():
        raise CouplingError(f"{name} is a file; give the folder that contains config.json and the weights")
    config = folder / "config.json"
    if not config.exists() and (folder / "adapter_config.json").exists():
        raise CouplingError(
            f"{name} contains an adapter without its model's weights; merge them (peft's merge_and_unload, then "
            "save_pretrained) and give that folder"
        )
    if not config.exists():
        raise CouplingError(f"{name} contains no config.json, so it is not a checkpoint in the Hugging Face format")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CouplingError(f"{config} cannot be read as JSON: {first_line(error)}") from None
    files = [file for pattern in WEIGHT_FILES for file in folder.glob(pattern)] if weights else []
    if weights and not files:
        raise CouplingError(f"{name} contains no weights ({' or '.join(WEIGHT_FILES)})")
    for file in files:
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, framework="pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise CouplingError(f"{file} is truncated or corrupt: {first_line(error)}") from None
