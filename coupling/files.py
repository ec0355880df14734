"""Files written atomically, JSON files, and the check of a folder that results are written to."""

import json
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from coupling.errors import CouplingError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: it exists either completely or not at all.

    Raises:
        CouplingError: if the disk is full or the folder not writable; nothing is left behind.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise CouplingError(f"cannot write {path}: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_json(content: dict[str, Any]) -> bytes:
    """A JSON object with sorted keys; NumPy scalars become numbers.

    Raises:
        ValueError: if a number is not finite.
        TypeError: if a value has no JSON form.
    """
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def load_json(path: Path) -> dict[str, Any]:
    """Read a file that contains a JSON object.

    Raises:
        CouplingError: if it cannot be read, or contains something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CouplingError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CouplingError(f"{path} does not contain a JSON object")
    return content


def check_output_folder(
    folder: Path, *, is_ours: Callable[[set[str]], bool], overwrite: bool, resume: bool = False, resumable: bool = True
) -> set[str]:
    """Check that results may be written to a folder, before anything expensive is done.

    Args:
        folder: the folder to write to; it need not exist.
        is_ours: given the names in a folder that is not empty, whether they are earlier results that may be replaced.
        overwrite: whether earlier results are replaced.
        resume: whether an unfinished run is continued.
        resumable: whether results of this kind can be continued; the message about earlier results depends on it.

    Returns:
        The names in the folder; empty if there is none.

    Raises:
        CouplingError: if the folder contains something else, or results that are neither resumed nor overwritten, or
            if it cannot be written to.
    """
    if overwrite and resume:
        raise CouplingError("`overwrite` and `resume` exclude each other")
    try:
        if folder.exists() and not folder.is_dir():
            raise CouplingError(f"{folder} is a file, but `out` must be a folder")
        entries = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        place = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    except OSError as error:
        raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None
    if not os.access(place, os.W_OK | os.X_OK):
        raise CouplingError(f"cannot write to the folder {folder}: no permission to write in {place}")
    if entries and not is_ours(entries):
        raise CouplingError(f"the folder {folder} contains other files and no run; choose another folder")
    if entries and not overwrite and not resume:
        hint = "`resume=True` to continue it, or `overwrite=True` to replace it"
        hint = hint if resumable else "`overwrite=True` to replace it"
        raise CouplingError(f"the folder {folder} already contains a run; give {hint}")
    return entries


def environment(*packages: str) -> dict[str, str]:
    """The versions of Python, the platform and some packages, as every ``run.json`` records them."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
    }
