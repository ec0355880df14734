"""Dynamics: the score through training."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from coupling.errors import CouplingError
from coupling.figures.columns import DYNAMICS
from coupling.figures.style import WIDTH, legend_above, legend_name, line_look, new_figure, styled


def dynamics(table: pd.DataFrame, *, score_label: str = "coupling 1 − m") -> Figure:
    """Score against training step on a log axis (step 0 at its left end), a line a model, chance dashed.

    Args:
        table: columns of ``coupling.figures.columns.DYNAMICS``; several rows of a model and step are prompts, drawn
            as their mean with a band of the middle 80 %.
        score_label: names the vertical axis.

    Raises:
        CouplingError: if a column is missing or holds no numbers.
    """
    table = DYNAMICS.check(table, "dynamics").dropna(subset=["step", "score"])
    if table.empty:
        raise CouplingError("no row of the dynamics' table holds both a step and a score")
    if (table["step"] < 0).any():
        raise CouplingError(f"step {table['step'].min():g} in the dynamics' table is below 0")
    with styled():
        figure = new_figure(0.6 * WIDTH)
        axes = figure.subplots()
        for index, (name, rows) in enumerate(table.groupby("model", sort=False)):
            look = line_look(index)
            color = look["color"]
            grouped = rows.groupby("step")["score"]
            mean = grouped.mean()
            axes.plot(mean.index, mean, marker="o", markersize=3.5, label=legend_name(name), **look)
            if grouped.count().max() > 1:
                axes.fill_between(mean.index, grouped.quantile(0.1), grouped.quantile(0.9), color=color, alpha=0.18,
                                  linewidth=0)  # fmt: skip
            if "chance" in rows and rows["chance"].notna().any():
                level = rows.groupby("step")["chance"].mean()
                axes.plot(level.index, level, "--", linewidth=1, color=color, alpha=0.8)
        if "chance" in table and table["chance"].notna().any():
            axes.plot([], [], "--", linewidth=1, color="#444444", label="chance")
        steps = table["step"].dropna()
        positive = steps[steps > 0]
        if len(positive):
            axes.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5, base=10)
        ticks = _ticks(steps)
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.set(xlabel="training step", ylabel=score_label)
        if table["model"].nunique() > 1 or "chance" in table:
            legend_above(figure, *axes.get_legend_handles_labels())
    return figure


def _ticks(steps: pd.Series) -> list[float]:
    """Zero where it was measured, and powers of ten, four or two; the steps themselves where there are few of those."""
    low, high = float(steps[steps > 0].min()) if (steps > 0).any() else 1.0, float(steps.max())
    found: list[float] = [0.0] if (steps == 0).any() else []
    for base in (10, 4, 2):
        powers = [float(base**power) for power in range(64) if low <= base**power <= high]
        if len(powers) >= 3:
            return found + powers
    each = sorted(set(steps.tolist()))
    return each[:: max(1, -(-len(each) // 6))]


def _short(value: float) -> str:
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if suffix == 'k' else size):g}{suffix}"
    return f"{value:g}"
