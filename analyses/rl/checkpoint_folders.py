"""The checkpoints of an RL run on disk: which folders are checkpoints, and which are complete.

Two layouts are read. TRL's is that of every ``transformers.Trainer``: folders such as ``checkpoint-100``, with the
tokenizer inside or in the parent folder; a run with adapters saves only these. FeynRL's has one Hugging Face folder per
epoch, such as ``iter000001_v000001``, with ``training_state.json`` and, once it is complete, ``CHECKPOINT_COMPLETE``
(see its ``misc/setup_rl.py``).
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError
from coupling.models.folder import TOKENIZER_FILES
from coupling.untrusted import read_json

TRL_NAME = re.compile(r"checkpoint-(\d+)")
FEYNRL_NAME = re.compile(r"iter(\d+)_v(\d+)")
FEYNRL_STATE, FEYNRL_MARKER = "training_state.json", "CHECKPOINT_COMPLETE"
TRL_STATE, ADAPTER_CONFIG = "trainer_state.json", "adapter_config.json"
LONGEST_STATE = 2**30
"""The most bytes of a state, which contains what was logged at every step."""


@dataclass(frozen=True)
class CheckpointFolder:
    """A checkpoint on disk.

    Attributes:
        folder: its folder; for a model of the hub, its id.
        step: its optimization step.
        tokenizer: the folder of its tokenizer.
        base: the model that an adapter belongs to; None for a whole model.
    """

    folder: Path
    step: int
    tokenizer: Path
    base: str | None = None


@dataclass(frozen=True)
class SkippedFolder:
    """A folder that is not measured, and the reason."""

    folder: Path
    reason: str


def find_checkpoints(folder: str | Path) -> tuple[list[CheckpointFolder], list[SkippedFolder]]:
    """The checkpoints in a folder in order of their steps, and the folders that are not complete checkpoints.

    Args:
        folder: TRL's ``output_dir``, or FeynRL's folder of one experiment.

    Raises:
        CouplingError: if the folder cannot be read, contains no checkpoint, or contains two of the same step.
    """
    folder = Path(folder).expanduser()
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise CouplingError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    examined = [_examine(entry) for entry in entries]
    skipped = [item for item in examined if isinstance(item, SkippedFolder)]
    checkpoints = sorted(
        (item for item in examined if isinstance(item, CheckpointFolder)), key=lambda checkpoint: checkpoint.step
    )
    if not checkpoints:
        raise CouplingError(_no_checkpoint(folder, skipped))
    for first, second in pairwise(checkpoints):
        if first.step == second.step:
            raise CouplingError(
                f"{first.folder} and {second.folder} are both checkpoints of step {second.step}; keep the checkpoints "
                "of one run in each folder"
            )
    return checkpoints, skipped


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where the file is missing or contains something else."""
    try:
        content = read_json(path, LONGEST_STATE)
    except CouplingError:
        return {}
    return content if isinstance(content, dict) else {}


def _examine(entry: Path) -> CheckpointFolder | SkippedFolder:
    """A folder as a checkpoint, or the reason why it is not one."""
    trl, feynrl = TRL_NAME.fullmatch(entry.name), FEYNRL_NAME.fullmatch(entry.name)
    if trl is None and feynrl is None and not (entry / FEYNRL_STATE).exists():
        return SkippedFolder(entry, "not a checkpoint by its name (checkpoint-STEP, iterEPOCH_vVERSION)")
    if trl is None and not (entry / FEYNRL_MARKER).exists():
        return SkippedFolder(entry, f"incomplete: {FEYNRL_MARKER} is missing, so writing it was interrupted")
    base = None
    if not (entry / "config.json").exists():
        if not (entry / ADAPTER_CONFIG).exists():
            return SkippedFolder(entry, "incomplete: config.json is missing")
        base = read_object(entry / ADAPTER_CONFIG).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            return SkippedFolder(
                entry, f"an adapter whose {ADAPTER_CONFIG} names no model; merge it into its model first"
            )
    if not any(entry.glob("*.safetensors")) and not any(entry.glob("*.bin")):
        is_adapter = (entry / "adapter").is_dir()
        reason = "an adapter without the model's weights; merge it into them first"
        return SkippedFolder(entry, reason if is_adapter else "incomplete: the weights are missing")
    tokenizer = next((folder for folder in (entry, entry.parent) if _has_tokenizer(folder)), None)
    if tokenizer is None:
        return SkippedFolder(entry, "there is no tokenizer in it or in its parent folder")
    step: Any = int(trl[1]) if trl is not None else read_object(entry / FEYNRL_STATE).get("global_step")
    if not isinstance(step, int):
        return SkippedFolder(entry, f"incomplete: {FEYNRL_STATE} gives no global_step")
    return CheckpointFolder(entry, step, tokenizer, base)


def _has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for pattern in TOKENIZER_FILES for file in folder.glob(pattern))


def _no_checkpoint(folder: Path, skipped: list[SkippedFolder]) -> str:
    """The message for a folder without checkpoints; it names those in folders below, as in a run's ``trainer``."""
    message = (
        f"{folder} contains no checkpoint to measure (expected folders such as checkpoint-100 or iter000001_v000001)"
    )
    if skipped:
        message += ": " + "; ".join(f"{item.folder.name}: {item.reason}" for item in skipped)
    below = sorted({path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/checkpoint-*")})
    if below:
        message += f"; there are checkpoints in {', '.join(map(str, below))}: give one of these folders"
    return message
