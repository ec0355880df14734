"""A run of ``coupling rl`` on disk, for the commands that show, draw and report it; no PyTorch is needed to read it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coupling.analyses.rl.folder import REPLACING, SUMMARY, TABLE
from coupling.errors import CouplingError, first_line
from coupling.files import load_json
from coupling.run_files import DATA
from coupling.untrusted import clean, expanded, read_text

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**28
"""The most bytes of a table that is read to be shown."""
NAMES = ("run",)
"""Columns that contain text; all others contain numbers."""


@dataclass(frozen=True)
class SavedRlRun:
    """What the folder of a run of ``coupling rl`` contains.

    Attributes:
        folder: the run's folder.
        rows: one row per seed and step, in the table's order; a cell without a number is missing.
        config: the configuration; empty for the measured checkpoints of another run.
        seeds: the seeds.
        finished: whether the run reached its end.
        error: why it did not; empty if it did, or if it is still under way.
        source: the folder of the checkpoints that were measured; empty for a run itself.
    """

    folder: Path
    rows: list[dict[str, Any]]
    config: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    finished: bool = True
    error: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """What the run is called: its folder."""
        return self.folder.name or str(self.folder)

    @property
    def objective(self) -> str:
        """What was optimized; empty for measured checkpoints."""
        return str(self.config.get("objective") or "")

    @property
    def steps(self) -> int:
        """The last step of any seed."""
        return max((row["step"] for row in self.rows), default=0)

    @property
    def asked_steps(self) -> int | None:
        """The number of steps that the configuration asks for, where it says so."""
        steps = (self.config.get("trainer") or {}).get("max_steps")
        return steps if isinstance(steps, int) and steps > 0 else None

    @property
    def state(self) -> str:
        """How the run ended, in words."""
        if self.finished:
            return "finished"
        return f"stopped: {self.error}" if self.error else "unfinished"

    @property
    def of_k(self) -> str:
        """At which K the columns score, chance and excess are, such as "K = 10"; empty where it is not known."""
        asked = (self.config.get("probe") or {}).get("k")
        first = asked[0] if isinstance(asked, list) and asked else asked
        return f"K = {first}" if isinstance(first, (int, str)) and not isinstance(first, bool) else ""

    def described(self) -> str:
        """The run in one line: what was trained, by which objective, on what, how far."""
        if self.source:
            steps = len({row["step"] for row in self.rows})
            return f"checkpoints in {self.source}, {steps} {'step' if steps == 1 else 'steps'} measured, {self.state}"
        data = self.config.get("data") or {}
        model = str(self.config.get("model") or "")
        what = f"task {data['task']}" if data.get("task") else str(data.get("dataset") or data.get("file") or "")
        trained = "a small model" if model == "task" else model
        seeds = f"{'seed' if len(self.seeds) == 1 else 'seeds'} {', '.join(map(str, self.seeds))}"
        asked = "" if self.asked_steps in (None, self.steps) else f" of {self.asked_steps}"
        count = f"{self.steps}{asked} {'step' if self.steps == 1 and not asked else 'steps'}"
        adapter = "with an adapter (LoRA)" if self.config.get("lora") else ""
        facts = (f"{self.objective} on {what}" if what else self.objective, trained, adapter, seeds, count, self.state)
        return ", ".join(fact for fact in facts if fact)


def is_rl_run(folder: str | Path) -> bool:
    """Whether a folder is one that ``coupling rl`` wrote a table to."""
    path = expanded(folder)
    return (path / TABLE).is_file() and (path / SUMMARY).is_file() and not (path / DATA).exists()


def only_rl_runs(folders: Sequence[str | Path]) -> bool:
    """Whether folders are runs of ``coupling rl``.

    Raises:
        CouplingError: if only some of them are.
    """
    those = [folder for folder in folders if is_rl_run(folder)]
    others = [folder for folder in folders if folder not in those]
    if those and others:
        raise CouplingError(
            f"{clean(those[0], 300)} is a run of coupling rl, and {clean(others[0], 300)} is not; give runs of one sort"
        )
    return bool(those)


def read_rl_run(folder: str | Path) -> SavedRlRun:
    """Read a run of ``coupling rl``, finished or not.

    Args:
        folder: the folder that ``coupling rl`` wrote.

    Raises:
        CouplingError: if it contains no such run, or a damaged one.
    """
    path = expanded(folder)
    if not is_rl_run(path):
        raise CouplingError(
            f"{clean(path, 300)} contains no run of coupling rl: there is no {TABLE} beside a {SUMMARY}"
        )
    content = load_json(path / SUMMARY)
    if REPLACING in content:
        raise CouplingError(f"the run in {clean(path, 300)} was being replaced; repeat the command that did so")
    rows = _rows(path / TABLE)
    seeds = content.get("seeds")
    config = content.get("config")
    return SavedRlRun(
        path,
        rows,
        config if isinstance(config, dict) else {},
        tuple(seeds) if isinstance(seeds, list) else tuple(dict.fromkeys(row["seed"] for row in rows)),
        bool(content.get("finished", True)),
        clean(content.get("error") or "", 200),
        clean(content.get("checkpoints") or "", 200),
    )


def table_of(runs: Sequence[SavedRlRun]) -> "tuple[pd.DataFrame, dict[str, str]]":
    """The rows of several runs as one table, whose column ``run`` tells them apart, and what each run is in words."""
    import pandas as pd

    names = [run.name for run in runs]
    unique = names if len(set(names)) == len(names) else [str(run.folder) for run in runs]
    tables = [pd.DataFrame(run.rows).assign(run=name) for run, name in zip(runs, unique, strict=True)]
    return pd.concat(tables, ignore_index=True), dict(zip(unique, (run.described() for run in runs), strict=True))


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, numbers as numbers.

    Raises:
        CouplingError: if the file cannot be read as a table of ``coupling rl``.
    """
    try:
        text = read_text(path, LARGEST)
        rows = [_row(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CouplingError(
            f"{clean(path, 300)} cannot be read as a table of coupling rl: {clean(first_line(error), 200)}"
        ) from None
    if not rows:
        raise CouplingError(f"{clean(path, 300)} contains no steps yet")
    return rows


def _row(cells: Mapping[str | None, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"run": clean(cells["run"], 200), "seed": int(cells["seed"]), "step": int(cells["step"])}
    for name, text in cells.items():
        if name is None or text is None:
            raise ValueError("a line does not have the columns of the first line")
        if name not in row and text:
            value = float(text)
            if math.isfinite(value):
                row[clean(name, 200)] = value
    return row
