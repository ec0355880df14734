"""Continuing an unfinished RL run: which seeds are finished, and which checkpoint the next seed continues from."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from coupling.analyses.rl.checkpoint_folders import TRL_NAME, TRL_STATE
from coupling.analyses.rl.config import RunConfig
from coupling.analyses.rl.log import SUMMARY, TRAINER
from coupling.errors import CouplingError
from coupling.files import load_json


@dataclass(frozen=True)
class Resumption:
    """Where a run continues.

    Attributes:
        done: the seeds that are finished.
        checkpoint: the checkpoint of the next seed; None where that seed begins again.
        step: the checkpoint's step; 0 without a checkpoint.
        ended: whether it is the seed's last step, so that only saving the model remains.
    """

    done: tuple[int, ...] = ()
    checkpoint: Path | None = None
    step: int = 0
    ended: bool = False

    def keeps(self, seed: int, step: int) -> bool:
        """Whether a row of the table is kept: the steps after the checkpoint are repeated."""
        return seed in self.done or (self.checkpoint is not None and step <= self.step)


@dataclass(frozen=True)
class _SavedStep:
    """A checkpoint that was written completely, with what TRL's state says about it."""

    folder: Path
    step: int
    max_steps: int

    @property
    def ended(self) -> bool:
        return self.step >= self.max_steps

    def is_resumable(self, window: int) -> bool:
        """Whether training needs none of the rollouts that were in memory: it generates new ones, or has ended."""
        return self.ended or self.step % window == 0


def trainer_folder(out: Path, seed: int, seeds: tuple[int, ...]) -> Path:
    """The folder into which TRL saves a seed."""
    return out / TRAINER / (f"seed-{seed}" if len(seeds) > 1 else "")


def resumption(out: Path, config: RunConfig, seeds: tuple[int, ...], window: int) -> Resumption:
    """Where the unfinished run in a folder continues.

    Args:
        out: the run's folder.
        config: the configuration, which must be the run's own.
        seeds: the seeds, which must be the run's own.
        window: steps from one generation of rollouts to the next; a checkpoint between two has lost its rollouts.

    Raises:
        CouplingError: if there is no such run, its settings differ, or it left nothing to continue from.
    """
    if not (out / SUMMARY).exists():
        raise CouplingError(f"the folder {out} contains no run of coupling rl to continue")
    summary = load_json(out / SUMMARY)
    _check_same_settings(out, summary, config, seeds)
    done = tuple(seed for seed in seeds if seed in summary.get("seeds_done", []))
    remaining = [seed for seed in seeds if seed not in done]
    if not remaining:
        return Resumption(done)
    if config.trainer.get("save_only_model"):
        raise CouplingError(
            f"the run in {out} cannot be resumed: with trainer.save_only_model its checkpoints contain no optimizer; "
            "give `overwrite=True` to begin again"
        )
    saved = _saved_steps(trainer_folder(out, remaining[0], seeds))
    for checkpoint in reversed(saved):
        if checkpoint.is_resumable(window):
            return Resumption(done, checkpoint.folder, checkpoint.step, checkpoint.ended)
    if done:
        return Resumption(done)
    where = f" at a step where rollouts are generated, which is every {window} steps" if saved else ""
    several = f", a multiple of {window}," if window > 1 else ""
    raise CouplingError(
        f"the run in {out} left no checkpoint to continue from{where} (trainer.save_strategy: steps and "
        f"trainer.save_steps{several} save some); give `overwrite=True` to begin again"
    )


def can_continue(out: Path) -> bool:
    """Whether an interrupted run left a finished seed or a checkpoint to continue from."""
    if not (out / SUMMARY).exists():
        return False
    summary = load_json(out / SUMMARY)
    window = summary.get("generation_window") or 1
    folders = {state.parent.parent for state in out.glob(f"{TRAINER}/**/{TRL_STATE}")}
    saved = [checkpoint for folder in folders for checkpoint in _saved_steps(folder)]
    return bool(summary.get("seeds_done")) or any(checkpoint.is_resumable(window) for checkpoint in saved)


def _check_same_settings(out: Path, summary: dict[str, Any], config: RunConfig, seeds: tuple[int, ...]) -> None:
    given = _flatten(json.loads(json.dumps(config.as_dict() | {"seeds": list(seeds)})))
    saved = _flatten((summary.get("config") or {}) | {"seeds": summary.get("seeds")})
    differing = sorted(key for key in given.keys() | saved.keys() if not _is_same_value(given.get(key), saved.get(key)))
    if differing:
        key = differing[0]
        raise CouplingError(
            f"{out} contains a run that differs in {', '.join(differing)} ({key} was {saved.get(key)!r}, and is "
            f"{given.get(key)!r} now), so it cannot be resumed; give the same settings, another `out`, or "
            "`overwrite=True`"
        )


def _saved_steps(folder: Path) -> list[_SavedStep]:
    """The complete checkpoints of a seed in order of their steps."""
    entries = [entry for entry in (folder.iterdir() if folder.is_dir() else ()) if TRL_NAME.fullmatch(entry.name)]
    saved = [checkpoint for entry in entries if (checkpoint := _read_state(entry)) is not None and _is_complete(entry)]
    return sorted(saved, key=lambda checkpoint: checkpoint.step)


def _read_state(folder: Path) -> _SavedStep | None:
    """A checkpoint by TRL's state; None where the state is missing or was not written completely."""
    try:
        state = json.loads((folder / TRL_STATE).read_text(encoding="utf-8"))
        return _SavedStep(folder, int(state["global_step"]), int(state["max_steps"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_complete(checkpoint: Path) -> bool:
    """Whether no file is truncated; torch's files are zip archives, which end with their index."""
    if not all(zipfile.is_zipfile(file) for pattern in ("*.pt", "*.pth") for file in checkpoint.glob(pattern)):
        return False
    try:
        for file in checkpoint.glob("*.safetensors"):
            with safe_open(file, "pt"):
                pass
    except (OSError, SafetensorError):
        return False
    return True


def _is_same_value(first: Any, second: Any) -> bool:
    """Whether two settings are equal, or a number and the text that YAML reads for it, such as 3e-4."""
    if first == second:
        return True
    try:
        return isinstance(first, str) != isinstance(second, str) and float(first) == float(second)
    except (TypeError, ValueError):
        return False


def _flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with keys such as ``trainer.max_steps``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
