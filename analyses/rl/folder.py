"""The folder of an RL run: its files, whether a new run may be written to it, and how an earlier one is removed."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError
from coupling.files import check_output_folder, is_leftover, load_json, remove_leftovers, to_json, write_atomically

TABLE, SUMMARY, TRAINER, MODEL = "table.csv", "run.json", "trainer", "model"
REPLACING = "replacing"
"""The key of a ``run.json`` that stands for an earlier run while it is removed."""
WRITTEN = (TABLE, SUMMARY)
"""The files that are written atomically, so that a killed process may leave one under a temporary name."""


def check_folder(
    folder: Path, *, overwrite: bool = False, resume: bool = False, replaced: Sequence[str] = (TRAINER, MODEL)
) -> None:
    """Check that a run may be written to a folder.

    A run that failed before its first step left nothing behind and is replaced without ``overwrite``, as is one that
    another command was removing when it was killed.

    Args:
        folder: the folder to write to.
        overwrite: whether an earlier run is replaced.
        resume: whether an unfinished run is continued.
        replaced: the subfolders that belong to the new run's kind, and are removed with an earlier run's table.

    Raises:
        CouplingError: if the folder contains something else or a run that is not replaced, or cannot be written to.
    """
    summary = _read_summary(folder / SUMMARY)
    if resume and summary is None:
        raise CouplingError(f"the folder {folder} contains no run of coupling rl to continue")
    try:
        kept = [name for name in (TRAINER, MODEL) if (folder / name).is_dir() and any((folder / name).iterdir())]
        has_results = (bool(kept) or (folder / TABLE).exists()) and REPLACING not in (summary or {})
    except OSError as error:
        raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None
    check_output_folder(
        folder,
        is_ours=lambda entries: summary is not None or _only_leftovers(entries),
        overwrite=not resume and (overwrite or not has_results),
        resume=resume,
    )
    others = [name for name in kept if name not in replaced]
    if others:
        raise CouplingError(
            f"the folder {folder} contains {others[0]}/ of another run, which would be lost; choose another folder"
        )


def prepare_folder(folder: Path, *, overwrite: bool, replaced: Sequence[str] = (TRAINER, MODEL)) -> None:
    """Make the folder of a run, or remove the earlier run from it.

    Wherever this is interrupted, the folder is one that a new run may be written to.

    Args:
        folder: see ``check_folder``.
        overwrite: see ``check_folder``.
        replaced: see ``check_folder``.

    Raises:
        CouplingError: see ``check_folder``.
    """
    check_folder(folder, overwrite=overwrite, replaced=replaced)
    try:
        if (folder / SUMMARY).exists():
            # Nothing may continue a run of which a part is removed, and the folder has to be known as ours to the end.
            write_atomically(folder / SUMMARY, to_json({REPLACING: True}))
        for name in replaced:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        for name in (TABLE, SUMMARY):  # the file that marks the folder as ours comes last
            (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None
    remove_leftovers(folder, WRITTEN)


def _only_leftovers(entries: Collection[str]) -> bool:
    """Whether a process that was killed in its first moments left all files of a folder."""
    return all(is_leftover(name, WRITTEN) for name in entries)


def _read_summary(path: Path) -> dict[str, Any] | None:
    """A ``run.json`` that ``coupling rl`` wrote; None where there is none."""
    try:
        content = load_json(path)
    except CouplingError:
        return None
    ours = {"config", "seeds"} <= content.keys() or "checkpoints" in content or REPLACING in content
    return content if ours else None
