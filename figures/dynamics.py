"""Dynamics: the score through training."""

import pandas as pd
from coupling.figures.style import PALETTE, WIDTH, new_figure, printable, styled
from coupling.figures.tables import DYNAMICS
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator


def dynamics(table: pd.DataFrame, *, score_label: str = "coupling 1 − m") -> Figure:
    """Score against training step on a log axis (step 0 at its left end), a line a model, chance dashed.

    Args:
        table: columns of ``coupling.figures.tables.DYNAMICS``; several rows of a model and step are prompts, drawn
            as their mean with a band of the middle 80 %.
        score_label: names the vertical axis.

    Raises:
        CouplingError: if a column is missing or holds no numbers.
    """
    table = DYNAMICS.check(table, "dynamics")
    with styled():
        figure = new_figure(0.6 * WIDTH)
        axes = figure.subplots()
        for index, (name, rows) in enumerate(table.groupby("model", sort=False)):
            colour = PALETTE[index % len(PALETTE)]
            grouped = rows.groupby("step")["score"]
            mean = grouped.mean()
            axes.plot(mean.index, mean, "o-", markersize=3.5, color=colour, label=printable(str(name), 40))
            if grouped.count().max() > 1:
                axes.fill_between(mean.index, grouped.quantile(0.1), grouped.quantile(0.9), color=colour, alpha=0.18,
                                  linewidth=0)  # fmt: skip
            if "chance" in rows and rows["chance"].notna().any():
                level = rows.groupby("step")["chance"].mean()
                axes.plot(level.index, level, "--", linewidth=1, color=colour, alpha=0.8)
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
            figure.legend(loc="outside upper center", ncols=3)
    return figure


def _ticks(steps: pd.Series) -> list[float]:
    """Zero where it was measured, and powers of ten, or of two where there are few of those."""
    low, high = float(steps[steps > 0].min()) if (steps > 0).any() else 1.0, float(steps.max())
    found: list[float] = [0.0] if (steps == 0).any() else []
    for base in (10, 4, 2):
        powers = [float(base**power) for power in range(64) if low <= base**power <= high]
        if len(powers) >= 3 or base == 2:
            return found + powers
    return found


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10000 else f"{value:g}"
