"""The checkpoints of an RL run on disk: which folders are checkpoints, at which step, and which are complete.

A checkpoint is any folder with a configuration and weights that transformers or peft reads, at most three folders down:
TRL's and ms-swift's ``checkpoint-100``, verl's ``global_step_10/actor/huggingface``, OpenRLHF's ``global_step20_hf``,
prime-rl's ``weights/step_10``, FeynRL's ``iter000001_v000001``. The step is a number in its path, or else that of
``trainer_state.json``. FeynRL writes it into ``training_state.json``, and ``CHECKPOINT_COMPLETE`` once a checkpoint is
complete (see its ``misc/setup_rl.py``).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError
from coupling.models.folder import TOKENIZER_FILES
from coupling.untrusted import clean, expanded, read_json

DEPTH = 3
"""How many folders down checkpoints are looked for."""
STEP_NAME = re.compile(r"(?:step|checkpoint|ckpt|iter|iteration|update|epoch)[-_]?(\d+)", re.IGNORECASE)
"""A number that a path calls a step."""
PAIR = re.compile(r"(\d{1,18})=(.+)", re.DOTALL)
TRL_NAME = re.compile(r"checkpoint-(\d+)")
FEYNRL_NAME = re.compile(r"iter(\d+)_v(\d+)")
FEYNRL_STATE, FEYNRL_MARKER = "training_state.json", "CHECKPOINT_COMPLETE"
TRL_STATE, ADAPTER_CONFIG = "trainer_state.json", "adapter_config.json"
LONGEST_STATE = 2**30
"""The most bytes of a state, which contains what was logged at every step."""

Source = str | Path | Sequence[str | Path]
"""A folder that contains checkpoints, or several texts of the form ``STEP=PATH``."""


@dataclass(frozen=True)
class CheckpointFolder:
    """A checkpoint on disk.

    Attributes:
        folder: its folder; for a model of the hub, its id.
        step: its optimization step.
        tokenizer: the folder of its tokenizer.
        base: the model that an adapter belongs to; None for a whole model.
        label: its path below the folder that was searched; empty for the folder's own name.
    """

    folder: Path
    step: int
    tokenizer: Path
    base: str | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages and in ``run.json``."""
        return self.label or self.folder.name


@dataclass(frozen=True)
class SkippedFolder:
    """A folder that is not measured, and the reason; ``label`` and ``name`` are those of ``CheckpointFolder``."""

    folder: Path
    reason: str
    label: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages and in ``run.json``."""
        return self.label or self.folder.name


def find_checkpoints(source: Source) -> tuple[list[CheckpointFolder], list[SkippedFolder]]:
    """The checkpoints in a folder in order of their steps, and the folders that are not complete checkpoints.

    Args:
        source: a folder, of which checkpoints are looked for at most ``DEPTH`` folders down; or ``STEP=PATH`` pairs,
            each with the folder of one checkpoint.

    Raises:
        CouplingError: if the folder cannot be read, contains no checkpoint, or contains two of the same step.
    """
    given = pairs_of(source)
    if given is None:
        (root,) = folders_of(source)
        examined = list(_search(root, root, DEPTH, set()))
    else:
        examined = [replace(_examine(folder, folder, step), label=str(folder)) for step, folder in given]
    skipped = [item for item in examined if isinstance(item, SkippedFolder)]
    checkpoints = sorted(
        (item for item in examined if isinstance(item, CheckpointFolder)), key=lambda checkpoint: checkpoint.step
    )
    if not checkpoints:
        raise CouplingError(_no_checkpoint(", ".join(map(str, folders_of(source))), skipped))
    for first, second in pairwise(checkpoints):
        if first.step == second.step:
            raise CouplingError(
                f"{first.folder} and {second.folder} are both checkpoints of step {second.step}; give the folder of "
                "one run, or STEP=PATH for each checkpoint"
            )
    return checkpoints, skipped


def pairs_of(source: Source) -> list[tuple[int, Path]] | None:
    """The steps and folders of ``STEP=PATH`` pairs; None where the source is a folder.

    Raises:
        CouplingError: if there are several sources, and one is not a pair.

    Example:
        >>> pairs_of(["10=runs/a", "20=runs/b"]), pairs_of("runs")
        ([(10, PosixPath('runs/a')), (20, PosixPath('runs/b'))], None)
    """
    items = [source] if isinstance(source, (str, Path)) else list(source)
    if len(items) == 1 and (isinstance(items[0], Path) or expanded(items[0]).is_dir()):
        return None
    found = [PAIR.fullmatch(str(item)) for item in items]
    if len(items) == 1 and found[0] is None:
        return None
    for item, match in zip(items, found, strict=True):
        if match is None:
            raise CouplingError(
                f"{clean(item, 300)} is not of the form STEP=PATH; give one folder that contains checkpoints, or such "
                "a pair for each checkpoint"
            )
    return [(int(match[1]), expanded(match[2])) for match in found if match is not None]


def folders_of(source: Source) -> list[Path]:
    """The folders that a source names."""
    given = pairs_of(source)
    if given is not None:
        return [folder for _, folder in given]
    (item,) = [source] if isinstance(source, (str, Path)) else source
    return [expanded(item)]


def _search(folder: Path, root: Path, depth: int, seen: set[Path]) -> Iterator[CheckpointFolder | SkippedFolder]:
    """What a folder is, or what the folders in it are; a folder directly in the root is always accounted for."""
    try:
        place = folder.resolve()
        if place in seen:  # a link such as "latest"
            return
        seen.add(place)
        if _looks_like_one(folder):
            label = "" if folder == root else folder.relative_to(root).as_posix()
            yield replace(_examine(folder, root, None), label=label)
            return
        entries = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        reason = f"cannot read the folder {folder}: {error.strerror or error}"
        if folder == root:
            raise CouplingError(reason) from None
        yield SkippedFolder(folder, reason)
        return
    entries.sort(key=lambda entry: (entry.is_symlink(), entry))  # a link comes after what it may point to
    found = [item for entry in entries if depth for item in _search(entry, root, depth - 1, seen)]
    yield from found
    if not found and folder.parent == root:
        yield SkippedFolder(folder, "there is no checkpoint in it: no folder with config.json and weights")


def _looks_like_one(folder: Path) -> bool:
    """Whether a folder is a checkpoint, or was meant to become one."""
    if TRL_NAME.fullmatch(folder.name) or FEYNRL_NAME.fullmatch(folder.name):
        # a trainer may put the model into a folder inside
        return _is_model(folder) or not any(_is_model(inner) for inner in folder.glob("*") if inner.name != "adapter")
    return _is_model(folder) or (folder / FEYNRL_STATE).exists()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").exists() or (folder / ADAPTER_CONFIG).exists()


def step_of(folder: Path, root: Path) -> int | None:
    """The step of a checkpoint from its path below the root: the last number that is called a step, or the last number.

    Example:
        >>> step_of(Path("run/global_step_10/actor/huggingface"), Path("run"))
        10
    """
    path = folder.relative_to(root).as_posix() if folder != root else root.name
    numbers = STEP_NAME.findall(path) or re.findall(r"\d+", path)
    return int(numbers[-1]) if numbers and len(numbers[-1]) <= 18 else None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where the file is missing or contains something else."""
    try:
        content = read_json(path, LONGEST_STATE)
    except CouplingError:
        return {}
    return content if isinstance(content, dict) else {}


def _examine(entry: Path, root: Path, step: int | None) -> CheckpointFolder | SkippedFolder:
    """A folder as a checkpoint, or the reason why it is not one; its step is read from its path if it is not given."""
    of_feynrl = FEYNRL_NAME.fullmatch(entry.name) is not None or (entry / FEYNRL_STATE).exists()
    if of_feynrl and not (entry / FEYNRL_MARKER).exists():
        return SkippedFolder(entry, f"incomplete: {FEYNRL_MARKER} is missing, so writing it was interrupted")
    base = None
    if not entry.is_dir():
        return SkippedFolder(entry, "there is no such folder")
    if not (entry / "config.json").exists():
        if not (entry / ADAPTER_CONFIG).exists():
            return SkippedFolder(entry, "incomplete: config.json is missing")
        base = read_object(entry / ADAPTER_CONFIG).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            return SkippedFolder(
                entry, f"an adapter whose {ADAPTER_CONFIG} names no model; merge it into its model first"
            )
    if not any(entry.glob("*.safetensors")) and not any(entry.glob("*.bin")):
        return SkippedFolder(entry, _why_without_weights(entry))
    places = [entry, *(folder for folder in entry.parents if folder.is_relative_to(root)), entry.parent]
    tokenizer = next((folder for folder in places if _has_tokenizer(folder)), None)
    if tokenizer is None:
        return SkippedFolder(entry, "there is no tokenizer in it or in a folder above it")
    if step is None:
        found: Any = None if of_feynrl else step_of(entry, root)
        if found is None:
            found = read_object(entry / (FEYNRL_STATE if of_feynrl else TRL_STATE)).get("global_step")
        if not isinstance(found, int):
            of_state, of_path = (
                f"incomplete: {FEYNRL_STATE} does not contain global_step",
                f"its path does not contain a number, and it does not contain a {TRL_STATE} with a global_step",
            )
            return SkippedFolder(entry, of_state if of_feynrl else of_path)
        step = found
    return CheckpointFolder(entry, step, tokenizer, base)


def _why_without_weights(entry: Path) -> str:
    """Why a checkpoint has no weights that can be read, and what to do."""
    if (entry / "adapter").is_dir():
        return "an adapter without the model's weights; merge it into them first"
    if any(entry.parent.glob("model_world_size_*")):  # verl
        return "the weights are in shards beside it (model_world_size_...); merge them with verl's model merger first"
    return "incomplete: the weights are missing"


def _has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for pattern in TOKENIZER_FILES for file in folder.glob(pattern))


def _no_checkpoint(place: str, skipped: list[SkippedFolder]) -> str:
    """The message for a source without checkpoints, with the reason for each folder that is not one."""
    message = (
        f"{place} contains no checkpoint to measure (expected folders with config.json and weights, at most {DEPTH} "
        "folders down, such as checkpoint-100)"
    )
    if skipped:
        message += ": " + "; ".join(f"{item.name}: {item.reason}" for item in skipped)
    return message
