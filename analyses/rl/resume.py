"""Going on with an unfinished run of RL: the seeds that are done, and the checkpoint that the next one goes on from."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from coupling.analyses.rl.checkpoints import TRL_NAME, TRL_STATE
from coupling.analyses.rl.config import RunConfig
from coupling.analyses.rl.log import SUMMARY, TRAINER
from coupling.errors import CouplingError
from coupling.files import load_json


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on.

    Attributes:
        done: seeds that are finished.
        checkpoint: of the seed after those; None where it begins again.
        step: the checkpoint's; 0 for none.
        ended: whether it is the seed's last step, after which only saving is left.
    """

    done: tuple[int, ...] = ()
    checkpoint: Path | None = None
    step: int = 0
    ended: bool = False

    def keeps(self, seed: int, step: int) -> bool:
        """Whether a row of the table stays: what comes after the checkpoint is done again."""
        return seed in self.done or (self.checkpoint is not None and step <= self.step)


def place_of(out: Path, seed: int, seeds: tuple[int, ...]) -> Path:
    """TRL's folder of a seed."""
    return out / TRAINER / (f"seed-{seed}" if len(seeds) > 1 else "")


def resumption(out: Path, config: RunConfig, seeds: tuple[int, ...], window: int) -> Resumption:
    """Where the unfinished run in a folder goes on.

    Args:
        out: its folder.
        config: has to be the run's own.
        seeds: likewise.
        window: steps from one generation of rollouts to the next: a checkpoint between has lost its rollouts.

    Raises:
        CouplingError: if there is no such run, its settings are others, or it left nothing to go on from.
    """
    if not (out / SUMMARY).exists():
        raise CouplingError(f"the folder {out} holds no run of coupling rl to go on with")
    known = load_json(out / SUMMARY)
    wanted = _flat(json.loads(json.dumps(config.as_dict() | {"seeds": list(seeds)})))
    there = _flat((known.get("config") or {}) | {"seeds": known.get("seeds")})
    differing = sorted(key for key in wanted.keys() | there.keys() if not _alike(wanted.get(key), there.get(key)))
    if differing:
        key = differing[0]
        raise CouplingError(
            f"{out} holds a run that differs in {', '.join(differing)} ({key}: {there.get(key)!r} there, "
            f"{wanted.get(key)!r} now), so it cannot be resumed; give the same settings, another --out, or --overwrite"
        )
    done = tuple(seed for seed in seeds if seed in known.get("seeds_done", []))
    left = [seed for seed in seeds if seed not in done]
    if not left:
        return Resumption(done)
    if config.trainer.get("save_only_model"):
        raise CouplingError(
            f"the run in {out} cannot be resumed: with trainer.save_only_model its checkpoints hold no optimizer; give "
            "--overwrite to begin again"
        )
    checkpoints = _checkpoints(place_of(out, left[0], seeds))
    for state, folder in reversed(checkpoints):
        if _is_resumable(state, window):
            return Resumption(done, folder, state["global_step"], state["global_step"] >= state["max_steps"])
    if done:
        return Resumption(done)
    between = f" where rollouts are made anew, every {window} steps" if checkpoints else ""
    several = f", a multiple of {window}," if window > 1 else ""
    raise CouplingError(
        f"the run in {out} left no checkpoint to go on from{between} (trainer.save_strategy: steps and "
        f"trainer.save_steps{several} keep some); give --overwrite to begin again"
    )


def can_go_on(out: Path) -> bool:
    """Whether an interrupted run left a seed that is done, or a checkpoint."""
    if not (out / SUMMARY).exists():
        return False
    known = load_json(out / SUMMARY)
    window = known.get("generation_window") or 1
    folders = {state.parent.parent for state in out.glob(f"{TRAINER}/**/{TRL_STATE}")}
    states = [state for folder in folders for state, _ in _checkpoints(folder)]
    return bool(known.get("seeds_done")) or any(_is_resumable(state, window) for state in states)


def _is_resumable(state: dict[str, Any], window: int) -> bool:
    """Whether rollouts are made anew after a checkpoint, or it is the last."""
    return state["global_step"] >= state["max_steps"] or state["global_step"] % window == 0


def _checkpoints(folder: Path) -> list[tuple[dict[str, Any], Path]]:
    """Those written to the end, in order, with TRL's state of each."""
    entries = [entry for entry in (folder.iterdir() if folder.is_dir() else ()) if TRL_NAME.fullmatch(entry.name)]
    found = [(_state(entry), entry) for entry in entries]
    whole = [(state, entry) for state, entry in found if state is not None and _is_whole(entry)]
    return sorted(whole, key=lambda item: item[0]["global_step"])


def _state(checkpoint: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((checkpoint / TRL_STATE).read_text(encoding="utf-8"))
        return {name: int(state[name]) for name in ("global_step", "max_steps")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(checkpoint: Path) -> bool:
    """Whether no file was cut short: torch's are zip archives, which end in their index."""
    if not all(zipfile.is_zipfile(file) for pattern in ("*.pt", "*.pth") for file in checkpoint.glob(pattern)):
        return False
    try:
        for file in checkpoint.glob("*.safetensors"):
            with safe_open(file, "pt"):
                pass
    except (OSError, SafetensorError):
        return False
    return True


def _alike(a: Any, b: Any) -> bool:
    """Equal, or a number and the text that YAML makes of it, such as 3e-4."""
    if a == b:
        return True
    try:
        return isinstance(a, str) != isinstance(b, str) and float(a) == float(b)
    except (TypeError, ValueError):
        return False


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping of mappings with keys as ``trainer.max_steps``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
