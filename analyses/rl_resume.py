"""Going on with an unfinished run of RL: the seeds that are done, and the checkpoint that the next one goes on from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupling.analyses.rl_checkpoints import TRL_NAME, TRL_STATE
from coupling.analyses.rl_config import RunConfig
from coupling.analyses.rl_table import SUMMARY, TRAINER

from coupling.errors import CouplingError
from coupling.store import load_json


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on.

    Attributes:
        done: seeds that are finished.
        checkpoint: of the seed after those; None where it begins again.
        step: the checkpoint's; 0 for none.
    """

    done: tuple[int, ...] = ()
    checkpoint: Path | None = None
    step: int = 0

    def keeps(self, seed: int, step: int) -> bool:
        """Whether a row of the table stays: what comes after the checkpoint is done again."""
        return seed in self.done or (self.checkpoint is not None and step <= self.step)


def place_of(out: Path, seed: int, seeds: tuple[int, ...]) -> Path:
    """TRL's folder of a seed."""
    return out / TRAINER / (f"seed-{seed}" if len(seeds) > 1 else "")


def resumption(out: Path, config: RunConfig, seeds: tuple[int, ...]) -> Resumption:
    """Where the unfinished run in a folder goes on.

    Args:
        out: its folder.
        config: has to be the run's own.
        seeds: likewise.

    Raises:
        CouplingError: if there is no such run, its settings are others, or it left nothing to go on from.
    """
    if not (out / SUMMARY).exists():
        raise CouplingError(f"the folder {out} holds no run of coupling rl to go on with")
    known = load_json(out / SUMMARY)
    wanted = _flat(json.loads(json.dumps(config.as_dict() | {"seeds": list(seeds)})))
    there = _flat((known.get("config") or {}) | {"seeds": known.get("seeds")})
    differing = sorted(key for key in wanted.keys() | there.keys() if wanted.get(key) != there.get(key))
    if differing:
        key = differing[0]
        raise CouplingError(
            f"{out} holds a run that differs in {', '.join(differing)} ({key}: {there.get(key)!r} there, "
            f"{wanted.get(key)!r} now), so it cannot be resumed; give the same settings, another --out, or --overwrite"
        )
    done = tuple(seed for seed in seeds if seed in known.get("seeds_done", []))
    left = [seed for seed in seeds if seed not in done]
    checkpoints = _checkpoints(place_of(out, left[0], seeds)) if left else []
    if not checkpoints and not done:
        raise CouplingError(
            f"the run in {out} left no checkpoint to go on from (trainer.save_strategy: steps and trainer.save_steps "
            "keep some); give --overwrite to begin again"
        )
    if not checkpoints:
        return Resumption(done)
    step, folder = checkpoints[-1]
    return Resumption(done, folder, step)


def can_go_on(out: Path) -> bool:
    """Whether an interrupted run left a seed that is done, or a checkpoint."""
    if not (out / SUMMARY).exists():
        return False
    return bool(load_json(out / SUMMARY).get("seeds_done")) or any(out.glob(f"{TRAINER}/**/{TRL_STATE}"))


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Those written to the end, in order: TRL writes their state last."""
    found = [(TRL_NAME.fullmatch(entry.name), entry) for entry in (folder.iterdir() if folder.is_dir() else ())]
    return sorted((int(name[1]), entry) for name, entry in found if name and (entry / TRL_STATE).exists())


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping of mappings with keys as ``trainer.max_steps``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
