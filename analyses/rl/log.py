"""The table of an RL run, with one row per seed and step, written to disk after each step."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from coupling.analyses.rl.divergence import diverged
from coupling.errors import CouplingError, first_line
from coupling.files import write_atomically
from coupling.shares import K, key_of
from coupling.untrusted import clean, read_text

COLUMNS = (
    "run",
    "seed",
    "step",
    "reward",
    "reward_sd",
    "ess",
    "kl",
    "score",
    "chance",
    "excess",
    "mismatch_to_initial",
    "loss",
    "grad_norm",
    "completion_length",
    "learning_rate",
    "entropy",
)
"""The columns of every table; a cell is empty where the objective or the step has no value."""
LOGGED = {
    "reward": "reward",
    "reward_std": "reward_sd",
    "p3o/ess": "ess",
    "ess/batch": "ess",
    "p3o/ess_micro": "ess_micro",
    "ess/micro": "ess_micro",
    "p3o/kl_behavior": "kl",
    "ess/kl_behavior": "kl",
    "p3o/truncation_unseen": "truncation_unseen",
    "ess/truncation_unseen": "truncation_unseen",
    "coupling/mismatch_to_initial": "mismatch_to_initial",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "completions/mean_length": "completion_length",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "held_out/reward": "held_out_reward",
    "eval_reward": "eval_reward",
    "completions/empty": "empty_completions",
    "kl": "kl_reference",
}
"""Keys of the trainer's log, and the column for each."""
KEPT = ("p3o/", "ess/", "coupling/", "rewards/", "clip_ratio/", "eval_pass@")
"""How the other logged keys begin that are columns under their own names."""
TIMES = ("coupling/seconds", "coupling/overhead")
"""Keys that are no columns: they differ between runs that are otherwise the same."""
FORMER_NAMES = {"p3o/kl_behaviour": "p3o/kl_behavior", "p3o/approx_kl": "p3o/kl_from_behavior"}
"""Keys of the log and columns as earlier versions spelled them, and their present names."""
FINITE = {"loss": "the loss", "grad_norm": "the gradient's norm", "reward": "the mean reward"}
"""Columns whose values must be finite, and what a message calls them."""
LARGEST = 2**30
"""The most bytes of a table that is continued."""

Row = dict[str, Any]
Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with (steps done, total number of steps, the step's row)."""


class RunTable:
    """Rows by seed and step, written as CSV.

    Args:
        path: the file; None to keep the rows in memory only (a process that is not the main one).
        name: the column ``run``.

    Example:
        >>> table = RunTable(None, "p3o")
        >>> row = table.update(0, 1, {"reward": 0.5})
        >>> table.rows()
        [{'run': 'p3o', 'seed': 0, 'step': 1, 'reward': 0.5}]
    """

    def __init__(self, path: Path | None, name: str) -> None:
        self.path, self.name = path, name
        self._rows: dict[tuple[int | None, int], Row] = {}

    def update(self, seed: int | None, step: int, values: Mapping[str, Any]) -> Row:
        """Add values to a row, which is created if it does not exist, and return the whole row."""
        row = self._rows.setdefault((seed, step), {"run": self.name, "seed": seed, "step": step})
        row.update(values)
        return row

    def rows(self, seed: int | None = None) -> list[Row]:
        """The rows in order of seed and step; those of one seed if it is given."""
        ordered = sorted(self._rows.items(), key=lambda item: (item[0][0] or 0, item[0][1]))
        return [row for key, row in ordered if seed is None or key[0] == seed]

    def read(self, keeps: Callable[[int, int], bool]) -> None:
        """Add the rows of the file, under the present names of the columns.

        Args:
            keeps: called with the seed and step of each row; whether the row is added.

        Raises:
            CouplingError: if the file cannot be read as a table that ``write`` wrote.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            text = read_text(self.path, LARGEST)
            if text and not text.endswith("\n"):
                raise ValueError("its last line is cut short")
            reader = csv.DictReader(io.StringIO(text, newline=""))
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"line {reader.line_num} does not have the columns of the first line")
                seed, step = int(row.pop("seed")), int(row.pop("step"))
                if keeps(seed, step):
                    row.pop("run")
                    self.update(seed, step, {FORMER_NAMES.get(name, name): float(v) for name, v in row.items() if v})
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise CouplingError(
                f"cannot read the table {self.path} to continue it: {clean(first_line(error), 300)}"
            ) from None

    @property
    def columns(self) -> list[str]:
        """``COLUMNS``, then all others of the rows."""
        others = {name for row in self._rows.values() for name in row} - set(COLUMNS)
        return [*COLUMNS, *sorted(others)]

    def write(self) -> None:
        """Write the file atomically: either completely or not at all.

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


def columns_of(logs: Mapping[str, Any], k: K) -> Row:
    """The columns of the table that a trainer's log gives.

    Args:
        logs: the trainer's keys, such as ``"p3o/ess"``, and their values.
        k: the K whose score, chance and excess (at p = 2) have columns without K in their names.

    Example:
        >>> columns_of({"p3o/ess": 0.9, "coupling/score_k5_p2": 0.2, "epoch": 1.0}, k=5)
        {'ess': 0.9, 'score': 0.2}
    """
    of_k = {f"coupling/{what}_k{key_of(k)}_p2": what for what in ("score", "chance", "excess", "mismatch_to_initial")}
    row: Row = {}
    for logged, value in logs.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        key = FORMER_NAMES.get(logged, logged)
        column = of_k.get(key) or LOGGED.get(key)
        if column is None and key.startswith(KEPT) and key not in TIMES:
            column = key
        if column is not None:
            row[column] = value
    return row


class Recorder(TrainerCallback):
    """Puts a trainer's log into a table, writes the table, and stops a run that diverges.

    Args:
        table: the table.
        seed: the run's seed.
        k: see ``columns_of``.
        progress: see ``Progress``.
    """

    def __init__(self, table: RunTable, seed: int, k: K, progress: Progress | None = None) -> None:
        self.table, self.seed, self.k, self.progress = table, seed, k, progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Record one step.

        Raises:
            DivergedError: if the loss, the reward, or the gradient's norm (except with fp16) is not finite.
        """
        values = columns_of(logs or {}, self.k)
        if not values:
            return
        row = self.table.update(self.seed, state.global_step, values)
        self.table.write()
        for name, subject in FINITE.items():
            if name == "grad_norm" and getattr(args, "fp16", False):
                continue  # loss scaling finds the largest scale by steps that overflow, which the optimizer skips
            if name in values and not math.isfinite(values[name]):
                raise diverged(state.global_step, f"{subject} is {values[name]}")
        if self.progress is not None and "loss" in values:
            self.progress(state.global_step, state.max_steps, row)
