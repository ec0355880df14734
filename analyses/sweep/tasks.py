"""The tasks of a study: one for each checkpoint, with a name that is readable, unique and stable."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from glob import glob
from pathlib import Path
from typing import Any

from coupling.analyses.sweep.revisions import in_order_of_steps, is_pattern, matching_revisions
from coupling.analyses.sweep.steps import step_of
from coupling.analyses.sweep.study import Entry, Study
from coupling.errors import CouplingError
from coupling.models.folder import TIMM, is_local
from coupling.untrusted import clean

CHECKPOINT_FILES = ("config.json", "adapter_config.json", "*.gguf")
"""A folder that contains one of these is a checkpoint."""


@dataclass(frozen=True)
class Task:
    """One checkpoint to measure.

    Attributes:
        name: the name of its run's folder and of its record.
        model: the model, the same for all checkpoints of one training run: a hub id, or a folder; for a folder whose
            name contains a step, the folder that it lies in.
        revision: the revision on the hub, or the name of the checkpoint's folder; empty for neither.
        step: the training step, where the revision's name contains it.
        path: what ``coupling.analyze`` loads: a hub id, or an absolute path.
        on_hub: whether it is loaded from the hub.
    """

    name: str
    model: str
    revision: str
    step: int | None
    path: str
    on_hub: bool

    @property
    def key(self) -> tuple[str, str]:
        """What two tasks of one study cannot share."""
        return self.path, self.revision if self.on_hub else ""

    def as_dict(self) -> dict[str, Any]:
        """The task as JSON keeps it."""
        return asdict(self)


def expand(study: Study, known: Sequence[Task] = ()) -> list[Task]:
    """All tasks of a study, in order: one per model and revision, and one per folder that a pattern matches.

    Args:
        study: the study.
        known: the tasks of an earlier start, whose names are kept.

    Raises:
        CouplingError: if a folder is missing, nothing matches a pattern, or the hub cannot list revisions; the message
            begins with the entry's line.
    """
    found: dict[tuple[str, str], Task] = {}
    for entry in study.entries:
        try:
            for task in _tasks_of(entry):
                found.setdefault(task.key, task)
        except CouplingError as error:
            raise CouplingError(f"{entry.where}{error}") from None
    if not any(task.on_hub for task in found.values()):
        useless = next((entry for entry in study.entries if entry.revisions), None)
        if useless is not None:
            raise CouplingError(
                f"{useless.where}revisions belong to models of the hub, and {clean(useless.model, 200)} is a local "
                "folder; a pattern of folders such as trained/checkpoint-* names its checkpoints"
            )
    return _named(found.values(), {task.key: task.name for task in known})


def _tasks_of(entry: Entry) -> list[Task]:
    """The tasks of one entry, without names."""
    if is_pattern(entry.model):
        folders = sorted(_checkpoints(entry.model), key=in_order_of_steps)
        if not folders:
            raise CouplingError(
                f"no checkpoint matches {clean(entry.model, 200)} (folders with "
                f"{', '.join(CHECKPOINT_FILES[:2])}, or .gguf files)"
            )
        return [_local_task(folder) for folder in folders]
    if entry.model == "bundled":
        return [Task("", "bundled", "", None, "bundled", on_hub=False)]
    if entry.model.startswith(TIMM):
        place = Path(entry.model.removeprefix(TIMM)).expanduser()
        path = f"{TIMM}{place.resolve()}" if place.exists() else entry.model
        return [Task("", entry.model, "", None, path, on_hub=False)]
    if is_local(entry.model):
        if not Path(entry.model).expanduser().exists():
            raise CouplingError(
                f"there is no folder {clean(entry.model, 200)}: give a folder that contains config.json and weights, "
                "or the id of a model on the hub"
            )
        return [_local_task(entry.model)]
    revisions = matching_revisions(entry.model, entry.revisions) if entry.revisions else [""]
    return [Task("", entry.model, name, step_of(name), entry.model, on_hub=True) for name in revisions]


def _checkpoints(pattern: str) -> list[str]:
    """The checkpoints that a pattern matches; other files and folders are left out."""
    matches = glob(str(Path(pattern).expanduser()))
    return [match for match in matches if match.lower().endswith(".gguf") or _is_checkpoint(Path(match))]


def _is_checkpoint(folder: Path) -> bool:
    return folder.is_dir() and any(True for name in CHECKPOINT_FILES for _ in folder.glob(name))


def _local_task(name: str) -> Task:
    folder = Path(name).expanduser()
    path = folder.resolve()
    step = step_of(path.name)
    if step is None:
        return Task("", name, "", None, str(path), on_hub=False)
    parent = str(folder.parent) if folder.parent != Path(".") else path.parent.name
    return Task("", parent, path.name, step, str(path), on_hub=False)


def _named(tasks: Iterable[Task], kept: dict[tuple[str, str], str]) -> list[Task]:
    """The tasks with names; those of an earlier start keep theirs."""
    taken = set(kept.values())
    named = []
    for task in tasks:
        name = kept.get(task.key) or _free_name(task, taken)
        taken.add(name)
        named.append(replace(task, name=name))
    return named


def _free_name(task: Task, taken: set[str]) -> str:
    """``pythia-160m@step1``; with the organization or the parent folder, or a number, where that is taken."""
    parts = [_plain(part) for part in Path(task.model).parts if _plain(part)] or ["model"]
    ending = f"@{_plain(task.revision)}" if task.revision else ""
    for count in range(1, len(parts) + 1):
        name = "--".join(parts[-count:]) + ending
        if name not in taken:
            return name
    numbers = (f"{parts[-1]}{ending}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in numbers if name not in taken)


def _plain(text: str) -> str:
    """A text of which every file system takes every character."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:100]
