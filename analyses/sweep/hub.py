"""Checkpoints of the hub in the local cache: whether they are there, downloading them, and deleting them."""

import os
from pathlib import Path
from typing import Any

from coupling.errors import one_line
from coupling.models.folder import on_hub

FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.py", "*.jinja", "*.gguf", "tokenizer*", "vocab*", "merges*")
"""Files that a measurement may need; other formats of the same weights and states of optimizers stay on the hub."""
PICKLES = ("*.bin",)


def is_cached(model: str, revision: str) -> bool:
    """Whether the cache already contains something of a revision, which is then not ours to delete."""
    return _snapshot(model, revision) is not None


def download(model: str, revision: str, *, pickle: bool = False) -> dict[str, Any]:
    """Download a revision into the cache.

    Args:
        model: a hub id.
        revision: its revision; empty for the default one.
        pickle: also weights that are pickled.

    Returns:
        ``commit``, or ``error``: what went wrong, which the measurement will meet again and report.
    """
    from huggingface_hub import snapshot_download

    repository, file = on_hub(model)
    patterns = [*FILES, *(PICKLES if pickle else ())]
    if file:  # one GGUF file of several, by its name or its quantization
        patterns = [file, f"*/{file}"] if file.lower().endswith(".gguf") else [f"*{file}*.gguf"]
    try:
        folder = snapshot_download(repository, revision=revision or None, allow_patterns=patterns)
    except Exception as error:  # the hub's, the connection's and the disk's
        return {"error": one_line(error)}
    return {"commit": Path(folder).name}


def delete(commits: list[str]) -> None:
    """Delete revisions from the cache, with the files that no other revision shares."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    present = {revision.commit_hash for repository in cache.repos for revision in repository.revisions}
    wanted = [commit for commit in commits if commit in present]
    if wanted:
        cache.delete_revisions(*wanted).execute()


def size_on_disk(model: str, revision: str) -> int:
    """Bytes of the weights of a revision in the cache; 0 where it is not there."""
    folder = _snapshot(model, revision)
    return 0 if folder is None else weight_bytes(folder)


def weight_bytes(path: Path) -> int:
    """Bytes of the weights in a folder, or of a file of weights."""
    if path.is_file():
        return path.stat().st_size
    for pattern in ("*.safetensors", "*.gguf", "*.bin"):
        total = sum(file.stat().st_size for file in path.glob(pattern) if file.exists())
        if total:
            return total
    return 0


def _snapshot(model: str, revision: str) -> Path | None:
    """The folder of a revision in the cache."""
    from coupling.models.hub import cached_snapshot

    return cached_snapshot(on_hub(model)[0], revision or None)


def quiet_environment() -> dict[str, str]:
    """The environment of a process whose progress bars nobody sees."""
    return os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
