"""Several runs of ``coupling rl`` as one table, a row for each: what somebody reads who chooses between them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from coupling.analyses.rl.saved_run import SavedRlRun
from coupling.errors import CouplingError

COLUMNS = (
    "run", "objective", "model", "seeds", "steps", "state", "reward_first", "reward_last", "excess_first",
    "excess_last", "score_last", "chance_last", "ess_mean", "kl_mean",
)  # fmt: skip
"""What the table contains; rewards are means over the first and the last tenth of the steps, all are means of seeds."""


def rl_run_table(runs: Sequence[SavedRlRun], sort: str | None = None) -> pd.DataFrame:
    """One row for each run: how its reward and its excess over chance changed.

    Args:
        runs: runs that ``coupling.analyses.rl.saved_run.read_rl_run`` read.
        sort: the column to sort by, numbers from the largest; ``excess`` and ``reward`` stand for their last values.
            Default: the order of ``runs``.

    Raises:
        CouplingError: if there is no such column.
    """
    sort = {"excess": "excess_last", "reward": "reward_last", "score": "score_last"}.get(sort or "", sort)
    if sort is not None and sort not in COLUMNS:
        raise CouplingError(f"`sort` is {sort!r}, but must be a column: {', '.join(COLUMNS)}")
    table = pd.DataFrame([_row(run) for run in runs], columns=list(COLUMNS))
    if sort is None:
        return table
    is_number = pd.api.types.is_numeric_dtype(table[sort])
    return table.sort_values(sort, ascending=not is_number, kind="stable", ignore_index=True)


def _row(run: SavedRlRun) -> dict[str, Any]:
    by_seed = [[row for row in run.rows if row["seed"] == seed] for seed in run.seeds]
    by_seed = [rows for rows in by_seed if rows]

    def mean_of(column: str, first: bool | None = None, tenth: bool = False) -> float | None:
        """The mean over seeds of a column's first or last value, of a tenth of them, or of all."""
        means = []
        for rows in by_seed:
            values = [row[column] for row in rows if column in row]
            count = len(values) if first is None else max(1, len(values) // 10) if tenth else 1
            chosen = values[:count] if first in (None, True) else values[-count:]
            if chosen:
                means.append(sum(chosen) / len(chosen))
        return sum(means) / len(means) if means else None

    return {
        "run": str(run.folder),
        "objective": run.objective or "checkpoints",
        "model": str(run.config.get("model") or run.source),
        "seeds": len(by_seed),
        "steps": run.steps,
        "state": run.state,
        "reward_first": mean_of("reward", True, tenth=True),
        "reward_last": mean_of("reward", False, tenth=True),
        "excess_first": mean_of("excess", True),
        "excess_last": mean_of("excess", False),
        "score_last": mean_of("score", False),
        "chance_last": mean_of("chance", False),
        "ess_mean": mean_of("ess"),
        "kl_mean": mean_of("kl"),
    }
