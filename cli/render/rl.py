"""How RL runs look on a terminal: the first, middle and last steps of one, or several as one table."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coupling.cli.render.numbers import figures, percent
from coupling.cli.render.rows import print_rows_of, print_table
from coupling.cli.render.text import plain

if TYPE_CHECKING:
    import pandas as pd

    from coupling.analyses.rl.saved_run import SavedRlRun

HEADINGS = {"mismatch_to_initial": "to initial"}
"""Headings of columns that differ from their names."""
PRINTED = ("reward", "excess", "score", "chance", "ess", "kl", "mismatch_to_initial")
"""Columns of the printed table, where a run has values for them."""
IN_JSON = (*PRINTED, "loss", "completion_length")
"""Columns of the JSON output."""

Row = Mapping[str, Any]


def print_rl_run(run: "SavedRlRun", console: Console) -> None:
    """Print a saved run of ``coupling rl``: what it is, some of its steps, and how its reward changed."""
    heading = Text.assemble(plain(run.name, "bold"), " ", plain(run.described(), most=1000))
    console.print(heading, highlight=False, soft_wrap=True)
    print_rows(run.rows, console, rewards=not run.source)
    if any("score" in row for row in run.rows):
        of_k = f" at {run.of_k}" if run.of_k else ""
        line = f"score, chance and excess over chance: on the probe prompts{of_k}, p = 2"
        console.print(line, highlight=False, soft_wrap=True)


def print_rl_table(table: "pd.DataFrame", console: Console) -> None:
    """Print the table of ``coupling.analyses.rl.run_table``."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    columns = {
        "objective": lambda row: str(plain(row["objective"])),
        "seeds": lambda row: str(row["seeds"]),
        "steps": lambda row: str(row["steps"]),
        "reward": lambda row: _change(row, "reward", figures),
        "excess": lambda row: _change(row, "excess", percent),
        "ess": lambda row: figures(row["ess_mean"]),
        "kl": lambda row: figures(row["kl_mean"]),
    }
    cells = {title: [cell(row) for row in rows] for title, cell in columns.items()}
    names = [plain(row["run"] + ("" if row["state"] == "finished" else f" ({row['state']})")) for row in rows]
    print_rows_of(names, {title: texts for title, texts in cells.items() if set(texts) != {"-"}}, console)
    console.print(
        "reward: over the first and the last tenth of the steps; excess over chance: first and last measurement; ess "
        "and kl: means over the steps",
        highlight=False,
        soft_wrap=True,
    )


def _change(row: Row, column: str, text: Callable[[float | None], str]) -> str:
    first, last = row[f"{column}_first"], row[f"{column}_last"]
    return "-" if last is None else f"{text(first)} → {text(last)}"


def summarize_rows(rows: Sequence[Row]) -> dict[str, Any]:
    """For every seed the reward over the first and the last tenth of the steps, and the main columns of all its rows.

    Example:
        >>> seed = summarize_rows([{"seed": 0, "step": 1, "reward": 0.25}])["seeds"][0]
        >>> seed["steps"], seed["reward_first"], seed["reward_last"]
        (1, 0.25, 0.25)
    """
    return {"seeds": [_summarize_seed(group) for group in _by_seed(rows)]}


def print_rows(rows: Sequence[Row], console: Console, *, rewards: bool = True) -> None:
    """Print the first, middle and last steps of every seed, and how its reward changed.

    Args:
        rows: the rows of a run's table.
        console: where they are printed.
        rewards: whether to compare the reward of the first steps with that of the last.
    """
    groups = _by_seed(rows)
    print_table(_table(groups), console, heading_in_list=True)
    for group in groups:
        notes = [*(_reward_notes(group) if rewards else ()), *_empty_notes(group)]
        if notes:
            seed = f"seed {group[0]['seed']}: " if len(groups) > 1 else ""
            console.print(f"{seed}{'; '.join(notes)}", highlight=False, soft_wrap=True)


def _table(groups: Sequence[Sequence[Row]]) -> Table:
    columns = [name for name in PRINTED if any(_finite(row.get(name)) is not None for group in groups for row in group)]
    several = len(groups) > 1
    table = Table(box=box.SIMPLE_HEAD)
    for column in (*(["seed"] if several else []), "step", *columns):
        table.add_column(HEADINGS.get(column, column), justify="right")
    for group in groups:
        for row in _first_middle_last(group):
            cells = [_cell(row, name) for name in columns]
            table.add_row(*([str(row["seed"])] if several else []), str(row["step"]), *cells)
    return table


def _cell(row: Row, column: str) -> str:
    value = _finite(row.get(column))
    return percent(value) if column == "excess" else figures(value)


def _reward_notes(rows: Sequence[Row]) -> list[str]:
    summary = _summarize_seed(rows)
    if summary["reward_first"] is None:
        return []
    first, last = figures(summary["reward_first"]), figures(summary["reward_last"])
    return [f"reward {first} over the first tenth of the steps, {last} over the last"]


def _empty_notes(rows: Sequence[Row]) -> list[str]:
    shares = [share for row in rows if (share := _finite(row.get("empty_completions")))]
    if not shares:
        return []
    steps = f"{len(shares)} step" + "s" * (len(shares) != 1)
    return [f"empty completions in {steps}, at most {percent(max(shares))} of the completions of a step"]


def _by_seed(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row["seed"] == seed] for seed in dict.fromkeys(row["seed"] for row in rows)]


def _first_middle_last(rows: Sequence[Row]) -> list[Row]:
    """The first, a middle and the last row, of those with a score if there are at least three."""
    rows = _with_reward(rows)
    measured = [row for row in rows if _finite(row.get("score")) is not None]
    chosen = measured if len(measured) >= 3 else rows
    return [chosen[index] for index in sorted({0, len(chosen) // 2, len(chosen) - 1})]


def _with_reward(rows: Sequence[Row]) -> list[Row]:
    """The rows; a step that reused the rollouts of an earlier step, and so logged no reward, with that step's."""
    filled, reward = [], None
    for row in rows:
        own = _finite(row.get("reward"))
        reward = reward if own is None else own
        filled.append(row if reward is None else {**row, "reward": reward})
    return filled


def _summarize_seed(rows: Sequence[Row]) -> dict[str, Any]:
    rewards = [reward for row in rows if (reward := _finite(row.get("reward"))) is not None]
    tenth = max(1, len(rewards) // 10)
    return {
        "seed": rows[0]["seed"],
        "steps": rows[-1]["step"],
        "reward_first": _mean(rewards[:tenth]),
        "reward_last": _mean(rewards[-tenth:]),
        "rows": [{"step": row["step"], **{name: _finite(row.get(name)) for name in IN_JSON}} for row in rows],
    }


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
