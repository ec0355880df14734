"""The table of a run of RL: one row a seed and step, on disk after each step."""

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from coupling.errors import CouplingError
from coupling.files import write_atomically

TABLE, SUMMARY, TRAINER, MODEL = "table.csv", "run.json", "trainer", "model"
COLUMNS = (
    "run", "seed", "step", "reward", "reward_sd", "ess", "kl", "score", "chance", "excess", "mismatch_to_initial",
    "loss", "grad_norm", "completion_length", "learning_rate", "entropy",
)  # fmt: skip
"""The columns that every table has; empty where the objective or the step gives none."""
LOGGED = {
    "reward": "reward",
    "reward_std": "reward_sd",
    "p3o/ess": "ess",
    "p3o/kl_behavior": "kl",
    "coupling/mismatch_to_initial": "mismatch_to_initial",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "completions/mean_length": "completion_length",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "held_out/reward": "held_out_reward",
    "completions/empty": "empty_completions",
    "kl": "kl_reference",
}
"""What the trainer logs, and the column that it goes to."""
KEPT = ("p3o/", "coupling/", "rewards/", "clip_ratio/")
"""Other logged numbers that keep their names as columns."""
FINITE = {"loss": "the loss", "grad_norm": "the gradient's norm", "reward": "the mean reward"}
"""What a run cannot go on without, and its name in a message."""

Row = dict[str, Any]
Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with (steps done, steps in all, the row of the step)."""


class RunTable:
    """Rows by seed and step, written as CSV.

    Args:
        path: the file; None to keep the rows in memory only (a process that is not the first).
        name: the column ``run``.
    """

    def __init__(self, path: Path | None, name: str) -> None:
        self.path, self.name = path, name
        self._rows: dict[tuple[int | None, int], Row] = {}

    def update(self, seed: int | None, step: int, values: Mapping[str, Any]) -> Row:
        """Add values to a row, which is made if it is not there; the whole row."""
        row = self._rows.setdefault((seed, step), {"run": self.name, "seed": seed, "step": step})
        row.update(values)
        return row

    def rows(self, seed: int | None = None) -> list[Row]:
        """The rows in order of seed and step, of one seed if it is given."""
        return [row for key, row in sorted(self._rows.items(), key=lambda item: (item[0][0] or 0, item[0][1]))
                if seed is None or key[0] == seed]  # fmt: skip

    def read(self, keeps: Callable[[int, int], bool]) -> None:
        """Take over the rows of the file, of every seed and step that ``keeps`` holds for.

        Raises:
            CouplingError: if it cannot be read as a table that ``write`` wrote.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    seed, step = int(row.pop("seed")), int(row.pop("step"))
                    if keeps(seed, step):
                        row.pop("run")
                        self.update(seed, step, {name: float(text) for name, text in row.items() if text})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CouplingError(f"cannot read the table {self.path} to go on with it: {error}") from None

    @property
    def columns(self) -> list[str]:
        """``COLUMNS``, then whatever else the rows hold."""
        extra = {name for row in self._rows.values() for name in row} - set(COLUMNS)
        return [*COLUMNS, *sorted(extra)]

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            CouplingError: if it cannot be written.
        """
        if self.path is None:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_atomically(self.path, text.getvalue().encode())


def columns_of(logs: Mapping[str, Any], k: int) -> Row:
    """The table's columns in what a trainer logged.

    Args:
        logs: names with slashes and numbers.
        k: the K whose score, chance and excess have columns of their own (at p = 2).
    """
    scored = {f"coupling/{what}_k{k}_p2": what for what in ("score", "chance", "excess", "mismatch_to_initial")}
    row: Row = {}
    for key, value in logs.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        name = scored.get(key) or LOGGED.get(key)
        if name is None and key.startswith(KEPT):
            name = key
        if name is not None:
            row[name] = value
    return row


class Recorder(TrainerCallback):
    """Put what a trainer logs into a table, write it, and stop a run that diverges.

    Args:
        table: where rows go.
        seed: of this run.
        k: see ``columns_of``.
        progress: see ``Progress``.
    """

    def __init__(self, table: RunTable, seed: int, k: int, progress: Progress | None = None) -> None:
        self.table, self.seed, self.k, self.progress = table, seed, k, progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Record one step.

        Raises:
            CouplingError: if the loss, the gradient's norm (but for fp16) or the reward is not finite.
        """
        values = columns_of(logs or {}, self.k)
        if not values:
            return
        row = self.table.update(self.seed, state.global_step, values)
        self.table.write()
        for name, words in FINITE.items():
            if name == "grad_norm" and getattr(args, "fp16", False):
                continue  # its loss scaling finds the largest scale by steps that overflow, which are skipped
            if name in values and not math.isfinite(values[name]):
                raise diverged(state.global_step, f"{words} is {values[name]}")
        if self.progress is not None and "loss" in values:
            self.progress(state.global_step, state.max_steps, row)


def diverged(step: int, what: str) -> CouplingError:
    """The one message for a model that went bad."""
    return CouplingError(
        f"step {step}: the model diverged: {what}; try a smaller trainer.learning_rate or trainer.max_grad_norm"
    )


def prepare_folder(folder: Path, *, overwrite: bool, replaced: Sequence[str] = (TRAINER, MODEL)) -> None:
    """Make the folder of a run, or empty the one that is there.

    Args:
        folder: to write to.
        overwrite: replace a run that is there.
        replaced: folders of a run that go with its table.

    Raises:
        CouplingError: if it holds a run that is not to be replaced or something else, or cannot be written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise CouplingError(f"{folder} is a file; --out takes a folder")
        entries = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        if entries and not _is_ours(folder / SUMMARY):
            raise CouplingError(f"the folder {folder} holds other files and no run of coupling rl; choose another")
        kept = [name for name in (TRAINER, MODEL) if (folder / name).is_dir() and any((folder / name).iterdir())]
        if (TABLE in entries or kept) and not overwrite:  # a run that failed before its first step left nothing to lose
            raise CouplingError(f"the folder {folder} exists and holds a run; give --overwrite to replace it")
        others = [name for name in kept if name not in replaced]
        if others:
            raise CouplingError(
                f"the folder {folder} holds {others[0]}/ of another run, which would be lost; choose another"
            )
        for name in (TABLE, SUMMARY):
            (folder / name).unlink(missing_ok=True)
        for name in replaced:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CouplingError(f"cannot write to the folder {folder}: no permission")
    except OSError as error:
        raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None


def _is_ours(summary: Path) -> bool:
    """Whether a ``run.json`` is one that ``coupling rl`` wrote."""
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and ({"config", "seeds"} <= content.keys() or "checkpoints" in content)
