"""Files written atomically, JSON files, and the check of a folder that results are written to."""

import contextlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError
from coupling.locking import LOCK
from coupling.untrusted import clean, read_json

TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}")
"""The names of files that are being written: ``write_atomically`` asks ``tempfile`` for eight characters."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: it exists either completely or not at all, also after a loss of power.

    A process that is killed meanwhile may leave a temporary file, which ``remove_leftovers`` removes.

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
        sync_folder(path.parent)
    except OSError as error:
        _discard(temporary)
        raise CouplingError(f"cannot write {path}: {error.strerror or error}") from None
    except BaseException:  # an interrupt
        _discard(temporary)
        raise


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a user named, atomically; its folder is created where it is missing.

    Raises:
        CouplingError: if that is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CouplingError(f"cannot create the folder {clean(path.parent, 300)}: {error.strerror or error}") from None
    write_atomically(path, content)


def _discard(temporary: str | None) -> None:
    if temporary is not None:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk; file systems that cannot do that do it on their own."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_leftover(name: str, files: Collection[str]) -> bool:
    """Whether a name in a folder is one that a killed process leaves: its lock, or a file that it was writing.

    Args:
        name: the name.
        files: the files that are written to the folder atomically.

    Example:
        >>> is_leftover(".run.nc-k2_9xw0a", ["run.nc"]), is_leftover(".thesis-k2_9xw0a", ["run.nc"])
        (True, False)
    """
    match = TEMPORARY.fullmatch(name)
    return name == LOCK or (match is not None and match[1] in files)


def remove_leftovers(folder: Path, files: Collection[str]) -> None:
    """Remove the files that a killed process was writing; only who has locked the folder may do so.

    Args:
        folder: the folder; nothing happens if there is none.
        files: see ``is_leftover``.
    """
    if folder.exists():
        for entry in list(folder.iterdir()):
            if entry.name != LOCK and is_leftover(entry.name, files):
                entry.unlink(missing_ok=True)


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
    if "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def load_json(path: Path) -> dict[str, Any]:
    """Read a file that contains a JSON object.

    Raises:
        CouplingError: if it cannot be read, or contains something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise CouplingError(f"{clean(path, 300)} does not contain a JSON object")
    return content


def check_output_folder(
    folder: Path,
    *,
    is_ours: Callable[[set[str]], bool],
    overwrite: bool,
    resume: bool = False,
    resumable: bool = True,
    files: Collection[str] = (),
) -> set[str]:
    """Check that results may be written to a folder, before anything expensive is done.

    Args:
        folder: the folder to write to; it need not exist.
        is_ours: given the names in a folder that is not empty, whether they are earlier results that may be replaced.
        overwrite: whether earlier results are replaced.
        resume: whether an unfinished run is continued.
        resumable: whether results of this kind can be continued; the message about earlier results depends on it.
        files: the files that are written to the folder atomically; what a killed process left of them does not count.

    Returns:
        The names in the folder, without such leftovers; empty if there is no folder.

    Raises:
        CouplingError: if the folder contains something else, or results that are neither resumed nor overwritten, or
            if it cannot be written to.
    """
    if overwrite and resume:
        raise CouplingError("`overwrite` and `resume` exclude each other")
    try:
        if folder.exists() and not folder.is_dir():
            raise CouplingError(f"{folder} is a file, but `out` must be a folder")
        names = [entry.name for entry in folder.iterdir()] if folder.exists() else []
        entries = {name for name in names if not is_leftover(name, files)}
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
