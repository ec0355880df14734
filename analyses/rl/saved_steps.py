"""The checkpoints from which a run can continue: those that are complete, and what the others lack."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from coupling.analyses.rl.checkpoint_folders import TRL_NAME, TRL_STATE, read_object

DEEPSPEED = "global_step*"
"""The folder in which DeepSpeed keeps the weights and the optimizer."""
WEIGHTS = ("model*.safetensors", "adapter_model.*", "pytorch_model*", DEEPSPEED)
OPTIMIZER = ("optimizer*", "rank*-optimizer.pt", DEEPSPEED)
SCHEDULER = ("scheduler.pt", DEEPSPEED)
LOSS_SCALE = ("scaler.pt", DEEPSPEED)


@dataclass(frozen=True)
class SavedStep:
    """A checkpoint on disk.

    Attributes:
        folder: its folder.
        step: its optimization step.
        max_steps: the last step of the training.
        lacks: what is missing or not complete; empty for a checkpoint that training can continue from.
    """

    folder: Path
    step: int
    max_steps: int
    lacks: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.step >= self.max_steps > 0

    def is_resumable(self, window: int) -> bool:
        """Whether training needs none of the rollouts that were in memory: it generates new ones, or has ended."""
        return not self.lacks and (self.ended or self.step % window == 0)


def saved_steps(folder: Path, *, processes: int = 1, fp16: bool = False) -> list[SavedStep]:
    """The checkpoints of one seed in order of their steps.

    Args:
        folder: TRL's ``output_dir``.
        processes: the number of processes that train.
        fp16: whether the loss is scaled, so that the scale is a part of the state.
    """
    entries = [entry for entry in (folder.iterdir() if folder.is_dir() else ()) if TRL_NAME.fullmatch(entry.name)]
    return sorted((_examine(entry, processes, fp16) for entry in entries), key=lambda saved: saved.step)


def _examine(folder: Path, processes: int, fp16: bool) -> SavedStep:
    """A checkpoint by its name, TRL's state and its files."""
    step = int(folder.name.rpartition("-")[2])
    try:
        state = read_object(folder / TRL_STATE)
        saved = SavedStep(folder, int(state["global_step"]), int(state["max_steps"]))
    except (ValueError, KeyError, TypeError):
        return SavedStep(folder, step, 0, f"{TRL_STATE}, which is written last")
    lacks = _truncated(folder) or _missing(folder, saved, processes, fp16)
    return SavedStep(folder, saved.step, saved.max_steps, lacks)


def _missing(folder: Path, saved: SavedStep, processes: int, fp16: bool) -> str:
    """What a checkpoint lacks; after the last step nothing but the weights is needed."""
    if not _any(folder, WEIGHTS):
        return "the weights"
    index = read_object(folder / "model.safetensors.index.json").get("weight_map")
    shards = sorted(set(map(str, index.values()))) if isinstance(index, dict) else []
    lost = next((shard for shard in shards if not (folder / shard).exists()), "")
    if lost:
        return f"the weights in {lost}"
    if saved.ended:
        return ""
    if not _any(folder, OPTIMIZER):
        return "the state of the optimizer (optimizer.pt)"
    if not _any(folder, SCHEDULER):
        return "the state of the learning rate's schedule (scheduler.pt)"
    if fp16 and not _any(folder, LOSS_SCALE):
        return "the scale of the loss (scaler.pt)"
    states = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    lost = next((state for state in states if not (folder / state).exists()), "")
    return f"the state of the random numbers ({lost})" if lost else ""


def _any(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _truncated(folder: Path) -> str:
    """The first file that was not written completely; torch's files are zip archives, which end with their index."""
    for file in sorted(file for pattern in ("*.pt", "*.pth") for file in folder.glob(pattern)):
        if not zipfile.is_zipfile(file):
            return f"a part of {file.name}"
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except (OSError, SafetensorError):
            return f"a part of {file.name}"
    return ""


def lacking_weights(model: Any, folder: Path) -> str:
    """What the weights of a checkpoint lack of a model, which would keep its own values there without a word.

    Args:
        model: the model that is trained, or a PEFT model, of which adapters are saved.
        folder: the checkpoint; DeepSpeed's and FSDP's own files are not examined.

    Returns:
        The number of tensors and the name of one; empty where nothing is missing.
    """
    adapted = hasattr(model, "peft_config")
    files = sorted(folder.glob("adapter_model.safetensors" if adapted else "model*.safetensors"))
    if not files:
        return ""
    stored: set[str] = set()
    for file in files:
        with safe_open(file, "pt") as opened:
            stored |= set(opened.keys())
    if adapted:
        from peft import get_peft_model_state_dict

        wanted: dict[str, Tensor] = get_peft_model_state_dict(model)
    else:
        wanted = model.state_dict()
    present = {tensor.data_ptr() for name, tensor in wanted.items() if name in stored}  # tied weights are stored once
    lost = [name for name, tensor in wanted.items() if name not in stored and tensor.data_ptr() not in present]
    return f"{len(lost)} of the model's {len(wanted)} tensors, such as {lost[0]}" if lost else ""
