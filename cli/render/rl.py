"""How a run of RL looks on a terminal: its first, middle and last steps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from coupling.cli.render.numbers import number, percent

HEADINGS = {"mismatch_to_initial": "to initial"}
PRINTED = ("reward", "ess", "kl", "score", "chance", "excess", "mismatch_to_initial")
SHOWN = ("reward", "ess", "kl", "score", "chance", "excess", "mismatch_to_initial", "loss", "completion_length")

Row = Mapping[str, Any]


def summarize_rows(rows: Sequence[Row]) -> dict[str, Any]:
    """For every seed the reward over the first and last tenth of the steps, and the main columns of all its rows."""
    return {"seeds": [_summary(group) for group in _by_seed(rows)]}


def print_rows(rows: Sequence[Row], console: Console, *, rewards: bool = True) -> None:
    """First, middle and last steps of every seed, and how the reward went."""
    groups = _by_seed(rows)
    held = [name for name in PRINTED if any(_finite(row.get(name)) is not None for row in rows)]
    several = len(groups) > 1
    table = Table(box=box.SIMPLE_HEAD)
    for column in (*(["seed"] if several else []), "step", *held):
        table.add_column(HEADINGS.get(column, column), justify="right")
    for group in groups:
        for row in _few(group):
            cells = [percent(_finite(row.get(name))) if name == "excess" else number(_finite(row.get(name)))
                     for name in held]  # fmt: skip
            table.add_row(*([str(row["seed"])] if several else []), str(row["step"]), *cells)
    console.print(table)
    for group in groups:
        summary = _summary(group)
        seed = f"seed {summary['seed']}: " if several else ""
        said = []
        if rewards and summary["reward_first"] is not None:
            said.append(f"reward {number(summary['reward_first'])} over the first tenth of the steps, "
                        f"{number(summary['reward_last'])} over the last")  # fmt: skip
        empty = [share for row in group if (share := _finite(row.get("empty_completions")))]
        if empty:
            said.append(f"empty completions in {len(empty)} steps, at most {percent(max(empty))} of a step's")
        if said:
            console.print(f"{seed}{'; '.join(said)}", highlight=False, soft_wrap=True)


def _by_seed(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row["seed"] == seed] for seed in dict.fromkeys(row["seed"] for row in rows)]


def _few(rows: Sequence[Row]) -> list[Row]:
    """The first, a middle and the last row, of those with coupling where there are such.

    A step on rollouts that were trained on before has no reward of its own: theirs stands there.
    """
    rows = _with_reward(rows)
    measured = [row for row in rows if _finite(row.get("score")) is not None]
    chosen = measured if len(measured) >= 3 else rows
    return [chosen[index] for index in sorted({0, len(chosen) // 2, len(chosen) - 1})]


def _with_reward(rows: Sequence[Row]) -> list[Row]:
    filled, reward = [], None
    for row in rows:
        own = _finite(row.get("reward"))
        reward = reward if own is None else own
        filled.append(row if reward is None else {**row, "reward": reward})
    return filled


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    rewards = [reward for row in rows if (reward := _finite(row.get("reward"))) is not None]
    tenth = max(1, len(rewards) // 10)
    return {
        "seed": rows[0]["seed"],
        "steps": rows[-1]["step"],
        "reward_first": _mean(rewards[:tenth]),
        "reward_last": _mean(rewards[-tenth:]),
        "rows": [{"step": row["step"], **{name: _finite(row.get(name)) for name in SHOWN}} for row in rows],
    }


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
