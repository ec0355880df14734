"""Continuing an unfinished RL run: which seeds are finished, and which checkpoint the next seed continues from."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from coupling.analyses.rl.checkpoint_folders import TRL_STATE
from coupling.analyses.rl.config import RunConfig
from coupling.analyses.rl.folder import REPLACING, SUMMARY, TRAINER
from coupling.analyses.rl.log import RunTable
from coupling.analyses.rl.saved_steps import SavedStep, saved_steps
from coupling.errors import CouplingError
from coupling.files import load_json
from coupling.untrusted import clean, quoted

FREE = ("reward_timeout",)
"""Settings that may change between an interruption and its continuation, because no number depends on them."""


@dataclass(frozen=True)
class Resumption:
    """Where a run continues.

    Attributes:
        done: the seeds that are finished, and the last step of each; None where an earlier version did not record it.
        seed: the next seed, if it continues from a checkpoint.
        checkpoint: the checkpoint of the next seed; None where that seed begins again.
        step: the checkpoint's step; 0 without a checkpoint.
        ended: whether it is the seed's last step, so that only saving the model remains.
        finished: whether the run had reached its end.
        notes: what was passed over, in one sentence each.
        identity: what the run began from; empty where an earlier version did not record it.
    """

    done: Mapping[int, int | None] = field(default_factory=dict)
    seed: int | None = None
    checkpoint: Path | None = None
    step: int = 0
    ended: bool = False
    finished: bool = False
    notes: tuple[str, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)

    def keeps(self, seed: int, step: int) -> bool:
        """Whether a row of the table is kept: the steps after the checkpoint are repeated."""
        return seed in self.done or (seed == self.seed and step <= self.step)


def trainer_folder(out: Path, seed: int, seeds: tuple[int, ...]) -> Path:
    """The folder into which TRL saves a seed."""
    return out / TRAINER / (f"seed-{seed}" if len(seeds) > 1 else "")


def resumption(
    out: Path,
    config: RunConfig,
    seeds: tuple[int, ...],
    window: int,
    identity: Callable[[], Mapping[str, str]],
) -> Resumption:
    """Where the unfinished run in a folder continues.

    Args:
        out: the run's folder.
        config: the configuration, which must be the run's own.
        seeds: the seeds, which must be the run's own.
        window: steps from one generation of rollouts to the next; a checkpoint between two has lost its rollouts.
        identity: computes what a run would begin from now (see ``coupling.analyses.rl.identity``), which must be what
            this one began from; called only if something is left to do, and the run's own is known.

    Raises:
        CouplingError: if there is no such run, its settings, model or data differ, or it left nothing to continue from.
    """
    summary = read_record(out)
    _check_same_settings(out, summary, config, seeds)
    done = {seed: _last_step(summary, seed) for seed in seeds if seed in summary["seeds_done"]}
    remaining = [seed for seed in seeds if seed not in done]
    if not remaining:
        return Resumption(done, finished=summary.get("finished") is True, identity=summary["identity"])
    if config.trainer.get("save_only_model"):
        raise CouplingError(
            f"the run in {out} cannot be resumed: with trainer.save_only_model its checkpoints contain no optimizer; "
            "give `overwrite=True` to begin again"
        )
    began: dict[str, str] = summary["identity"]
    if began:
        _check_same_beginning(out, began, identity())
    saved = _saved_steps(trainer_folder(out, remaining[0], seeds), fp16=bool(config.trainer.get("fp16")))
    usable = [item for item in saved if item.is_resumable(window)]
    notes = tuple(
        f"{item.folder} is not continued from, because it lacks {item.lacks}"
        for item in saved
        if item.lacks and (not usable or item.step > usable[-1].step)
    )
    if usable:
        last = usable[-1]
        return Resumption(done, remaining[0], last.folder, last.step, last.ended, notes=notes, identity=began)
    if done:
        return Resumption(done, notes=notes, identity=began)
    raise CouplingError(_nothing_to_continue(out, saved, window))


def read_record(out: Path) -> dict[str, Any]:
    """The ``run.json`` of a run of ``coupling rl``, with the parts that resuming needs checked.

    Raises:
        CouplingError: if there is none, or it cannot be read.
    """
    if not (out / SUMMARY).exists():
        raise CouplingError(f"the folder {out} contains no run of coupling rl to continue")
    summary = load_json(out / SUMMARY)
    if REPLACING in summary:
        raise CouplingError(
            f"the run in {out} was being replaced when that command was stopped, so nothing is left to continue; give "
            "`overwrite=True` to begin"
        )
    if "config" not in summary:
        raise CouplingError(f"the folder {out} contains no run of coupling rl to continue, but measured checkpoints")
    kinds = {"config": dict, "seeds": list, "seeds_done": list, "steps": dict, "identity": dict}
    for key, kind in kinds.items():
        if not isinstance(summary.setdefault(key, kind()), kind):
            raise CouplingError(f"{out / SUMMARY} is damaged: {key} is not what coupling rl writes")
    return summary


def check_table(table: RunTable, start: Resumption, *, first: int) -> None:
    """Check that a table contains every row that a run will not compute again.

    Args:
        table: what was read from the run's folder.
        start: where the run continues.
        first: the first step that has a row.

    Raises:
        CouplingError: if a row is missing, because the table was cut short or deleted.
    """
    kept = dict(start.done) if start.seed is None else {**start.done, start.seed: start.step}
    for seed, last in kept.items():
        present = {row["step"] for row in table.rows(seed)}
        last = max(present, default=1) if last is None else last
        n_missing = last + 1 - first - sum(first <= step <= last for step in present)
        if n_missing > 0:
            earliest = next(step for step in count(first) if step not in present)
            steps = f"step {earliest}" if n_missing == 1 else f"{n_missing} steps, the first of them {earliest},"
            raise CouplingError(
                f"the table {table.path} lacks {steps} of seed {seed}, which a resumed run does not repeat: it was cut "
                "short or deleted; put it back, or give `overwrite=True` to begin again"
            )


def can_continue(out: Path) -> bool:
    """Whether an interrupted run left a finished seed or a checkpoint to continue from."""
    try:
        summary = read_record(out)
    except CouplingError:
        return False
    window = summary.get("generation_window")
    window = window if isinstance(window, int) and window > 0 else 1
    folders = {state.parent.parent for state in out.glob(f"{TRAINER}/**/{TRL_STATE}")}
    saved = [item for folder in folders for item in _saved_steps(folder)]
    return bool(summary["seeds_done"]) or any(item.is_resumable(window) for item in saved)


def _saved_steps(folder: Path, *, fp16: bool = False) -> list[SavedStep]:
    return saved_steps(folder, processes=int(os.environ.get("WORLD_SIZE") or 1), fp16=fp16)


def _nothing_to_continue(out: Path, saved: list[SavedStep], window: int) -> str:
    """The message for a run of which no checkpoint can be used."""
    lacking = [item for item in saved if item.lacks]
    complete = len(lacking) < len(saved)
    where = f" at a step where rollouts are generated, which is every {window} steps" if complete else ""
    reason = f" ({lacking[-1].folder.name} lacks {lacking[-1].lacks})" if lacking else ""
    several = f", a multiple of {window}," if window > 1 else ""
    return (
        f"the run in {out} left no checkpoint to continue from{where}{reason} (trainer.save_strategy: steps and "
        f"trainer.save_steps{several} save some); give `overwrite=True` to begin again"
    )


def _last_step(summary: Mapping[str, Any], seed: int) -> int | None:
    """The last step of a finished seed; None where it is not recorded."""
    recorded = summary["steps"].get(str(seed))
    return recorded if isinstance(recorded, int) and recorded > 0 else None


def _check_same_settings(out: Path, summary: Mapping[str, Any], config: RunConfig, seeds: tuple[int, ...]) -> None:
    given = _flatten(json.loads(json.dumps(config.as_dict() | {"seeds": list(seeds)}, default=str)))
    saved = _flatten(summary["config"] | {"seeds": summary["seeds"]})
    differing = sorted(
        key for key in (given.keys() | saved.keys()) - set(FREE) if not _is_same_value(given.get(key), saved.get(key))
    )
    if differing:
        key = differing[0]
        change = f"{clean(key, 80)} was {quoted(saved.get(key))}, and is {quoted(given.get(key))} now"
        raise CouplingError(
            f"{out} contains a run that differs in {clean(', '.join(differing), 300)} ({change}), so it cannot be "
            "resumed; give the same settings, another `out`, or `overwrite=True`"
        )


def _check_same_beginning(out: Path, began: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Check that the model, the data and the probe are those that the run began from."""
    differing = [name for name in now if name in began and began[name] != now[name]]
    if differing:
        verb = "has" if len(differing) == 1 else "have"
        raise CouplingError(
            f"{' and '.join(differing)} of the run in {out} {verb} changed since it began, so it cannot be resumed; "
            "put back what it began from, or give another `out` or `overwrite=True`"
        )


def _is_same_value(first: Any, second: Any) -> bool:
    """Whether two settings are equal, or a number and the text that YAML reads for it, such as 3e-4."""
    if first == second or (first != first and second != second):  # two NaNs
        return True
    try:
        return isinstance(first, str) != isinstance(second, str) and float(first) == float(second)
    except (TypeError, ValueError):
        return False


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with keys such as ``trainer.max_steps``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
