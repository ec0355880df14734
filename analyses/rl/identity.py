"""What an RL run begins from, as hashes: its model, its data and the prompts of its probe.

A run that is resumed compares them, so that it never goes on with another model or other data under the same names.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coupling.analyses.rl.config import RunConfig
from coupling.analyses.rl.data import probe_texts, read_rows
from coupling.analyses.rl.initial import initial_model
from coupling.models.folder import TOKENIZER_FILES

MODEL, DATA, PROBE = "the model", "the data", "the probe's prompts"
"""What the hashes are of, as messages name it."""
FILES = (
    "config.json",
    "generation_config.json",
    "chat_template*",
    *TOKENIZER_FILES,
    "*.safetensors",
    "*.bin",
    "*.index.json",
)
"""The files of a checkpoint that a run depends on."""


def run_identity(config: RunConfig, seed: int) -> dict[str, str]:
    """Hashes of what a run begins from.

    Args:
        config: the run.
        seed: its first seed, which draws the task's prompts and names the small model.

    Raises:
        CouplingError: if the model or the data cannot be read.
    """
    rows = read_rows(config.data, seed)
    identity = {MODEL: model_identity(initial_model(config, seed)), DATA: _hash(_lines(rows))}
    if config.probe.every:
        identity[PROBE] = _hash(json.dumps(text) for text in probe_texts(config.probe, rows))
    return identity


def model_identity(model: str) -> str:
    """SHA-256 over the files of a checkpoint's folder; the commit of a model of the hub, empty if it is not known.

    Args:
        model: a folder or a hub id.
    """
    folder = Path(model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for file in sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()}):
            with file.open("rb") as opened:
                digest.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()
    from transformers import PretrainedConfig

    try:
        content, _ = PretrainedConfig.get_config_dict(model)
    except (OSError, ValueError):  # loading the model says what is wrong
        return ""
    return str(content.get("_commit_hash") or "")


def _lines(rows: Any) -> Iterable[str]:
    """The rows of a data set as JSON; images and audio, which would have to be decoded, are left out."""
    decoded = [name for name, feature in rows.features.items() if hasattr(feature, "decode_example")]
    for row in rows.remove_columns(decoded):
        yield json.dumps(row, sort_keys=True, default=str)


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()
