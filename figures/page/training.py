"""The page of runs of reinforcement learning: what a step's rewards and coupling were, in the report's look."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from coupling.errors import CouplingError, require
from coupling.figures.columns import RL
from coupling.figures.page.packing import short_numbers
from coupling.figures.style import printable
from coupling.untrusted import clean

PANELS = {
    "reward": "mean reward",
    "excess": "excess over chance",
    "score": "coupling and its chance level",
    "mismatch_to_initial": "mismatch to the initial policy",
    "ess": "effective sample size",
    "kl": "KL to the behavior policy, nats per token",
}
"""Columns that have a chart, with its name; the chance level is dashed in the chart of the coupling."""
ALL_SEEDS = "-1"
"""The number that stands for the mean over seeds."""
MOST_STEPS = 2000
"""The most steps of a line; of a longer one every second, third, ... step is drawn, and always the last."""


def training_report(
    table: pd.DataFrame,
    described: Mapping[str, str],
    *,
    of_k: str = "",
    command: str = "",
    date: str = "",
) -> str:
    """One self-contained HTML page of runs of reinforcement learning.

    Args:
        table: columns of ``coupling.figures.columns.RL``, with ``run``.
        described: what each run is, in one line, by its name.
        of_k: at which K the coupling was measured, such as "K = 10"; empty where it is not known.
        command: what wrote the page, which it says.
        date: when it was written, which it says.

    Returns:
        The page's HTML text.

    Raises:
        CouplingError: if the table lacks a column or has no numbers, or the package of the extra ``report`` is not
            installed.
    """
    require("jinja2", purpose="the report")
    from coupling.figures.page.render import page_of

    table = RL.check(table, "rl")
    panels = [name for name in PANELS if name in table and bool(table[name].notna().any())]
    if not panels:
        raise CouplingError(f"the runs contain no numbers in {', '.join(PANELS)}")
    runs = [(str(name), rows) for name, rows in table.groupby("run", sort=False)]
    seeds = sorted({int(seed) for seed in table["seed"].dropna()}) if "seed" in table else []
    return page_of(
        "training.html.jinja",
        ("training",),
        title=_title([name for name, _ in runs]),
        paragraphs=[
            _paragraph(name if len(runs) > 1 else "", rows, described.get(name, ""), of_k) for name, rows in runs
        ],
        careful=_careful(runs, seeds),
        controls=[_seeds(seeds)] if len(seeds) > 1 else [],
        panels=[(name, PANELS[name]) for name in panels],
        steps=_rows(runs, panels),
        columns=["run", *(["seed"] if len(seeds) > 1 else []), "step", *panels],
        data={
            "runs": [],
            "ks": [],
            "pairs": [],
            "sections": {"training": [{"runs": [_lines(name, rows, panels, seeds) for name, rows in runs]}]},
        },
        command=clean(command, 1000),
        date=date,
    )


def _title(names: Sequence[str]) -> str:
    shown = [printable(name, 60) for name in names]
    if len(shown) > 3:
        return f"{shown[0]}, {shown[1]} and {len(shown) - 2} more runs"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _seeds(seeds: Sequence[int]) -> dict[str, Any]:
    options = [(ALL_SEEDS, "mean over seeds"), *((str(seed), str(seed)) for seed in seeds)]
    return {"name": "seed", "label": "seed", "options": options, "chosen": ALL_SEEDS}


def _paragraph(name: str, rows: pd.DataFrame, described: str, of_k: str) -> str:
    """What a run is, and how its reward and its excess changed."""
    of = f"{printable(name, 60)}: " if name else ""
    sentences = [f"{of}{clean(described, 1000) or 'a run of reinforcement learning'}."]
    reward = _mean_by_step(rows, "reward")
    if len(reward):
        tenth = max(1, len(reward) // 10)
        sentences.append(
            f"The mean reward was {reward.iloc[:tenth].mean():.3f} over the first tenth of the steps and "
            f"{reward.iloc[-tenth:].mean():.3f} over the last."
        )
    excess = _mean_by_step(rows, "excess")
    if len(excess):
        at = f" at {of_k}, p = 2" if of_k else ""
        sentences.append(
            f"On the probe prompts, the excess of coupling over chance{at} was {100 * excess.iloc[0]:z.1f} % at step "
            f"{excess.index[0]:.0f} and {100 * excess.iloc[-1]:z.1f} % at step {excess.index[-1]:.0f}."
        )
    return " ".join(sentences)


def _careful(runs: Sequence[tuple[str, pd.DataFrame]], seeds: Sequence[int]) -> list[str]:
    notes = []
    if len(seeds) > 1:
        notes.append("Lines are means over seeds, and bands reach from the lowest to the highest seed.")
    elif seeds:
        notes.append("There is one seed, so nothing says how much another seed would differ.")
    if not any("excess" in rows and rows["excess"].notna().any() for _, rows in runs):
        notes.append("Coupling was not measured; the key probe of the configuration does so.")
    else:
        notes.append("Coupling is measured on the probe prompts alone, and its excess has no standard error here.")
    notes.append("The reward is that of sampled completions on training prompts, not an evaluation.")
    return notes


def _mean_by_step(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column's mean over seeds at each step at which it has values."""
    if column not in rows:
        return pd.Series(dtype=float)
    by_step: Any = rows.dropna(subset=[column]).groupby("step")[column]
    return by_step.mean()


def _lines(name: str, rows: pd.DataFrame, panels: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The lines of one run: by panel and by seed."""
    columns = [*panels, *(["chance"] if "chance" in rows else [])]
    lines: dict[str, dict[str, Any]] = {column: {ALL_SEEDS: _line(rows, column)} for column in columns}
    for seed in seeds if len(seeds) > 1 else ():
        of_seed = rows[rows["seed"] == seed]
        for column in columns:
            lines[column][str(seed)] = _line(of_seed, column)
    return {"name": printable(name, 40), "lines": lines}


def _line(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    """Steps and values; the lowest and highest seed where there are several."""
    rows = rows.dropna(subset=[column])
    by_step: Any = rows.groupby("step")[column]
    mean = by_step.mean()
    chosen = list(range(0, len(mean), -(-len(mean) // MOST_STEPS) or 1))
    chosen += [len(mean) - 1] if chosen and chosen[-1] != len(mean) - 1 else []
    line: dict[str, Any] = {
        "steps": [int(step) for step in mean.index[chosen]],
        "values": short_numbers(mean.to_numpy()[chosen]),
    }
    if len(mean) and by_step.count().max() > 1:
        line |= {"low": short_numbers(by_step.min().to_numpy()[chosen])}
        line |= {"high": short_numbers(by_step.max().to_numpy()[chosen])}
    return line


def _rows(runs: Sequence[tuple[str, pd.DataFrame]], panels: Sequence[str], most: int = 400) -> list[list[str]]:
    """The table below the charts: the steps at which coupling was measured, or all; means over seeds."""
    found = []
    for name, rows in runs:
        measured = rows.dropna(subset=["excess"]) if "excess" in rows and rows["excess"].notna().any() else rows
        for _, row in measured.head(most // len(runs)).iterrows():
            seed = [f"{row['seed']:.0f}"] if "seed" in rows and rows["seed"].nunique() > 1 else []
            values = ["–" if pd.isna(row[column]) else f"{row[column]:.4g}" for column in panels]
            found.append([printable(name, 60), *seed, f"{row['step']:.0f}", *values])
    return found
