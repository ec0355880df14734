"""Scatter: score against benchmark, with the least-squares line."""

import numpy as np
import pandas as pd
import textalloc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import linregress

from coupling.errors import CouplingError
from coupling.figures.columns import SCATTER
from coupling.figures.style import GRAY, PALETTE, WIDTH, legend_above, legend_name, new_figure, printable, styled

MARKS = ("o", "s", "^", "D", "v", "P", "X")


def complete_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that hold both a score and a benchmark.

    Raises:
        CouplingError: if there is none, or a column is missing.
    """
    table = SCATTER.check(table, "scatter").dropna(subset=["score", "benchmark"])
    if table.empty:
        raise CouplingError("no row of the scatter's table holds both a score and a benchmark")
    return table


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float] | None:
    """Slope, intercept, R² and p-value of the least-squares line; None for fewer than 3 points or a constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    fit = linregress(x, y)
    return float(fit.slope), float(fit.intercept), float(fit.rvalue**2), float(fit.pvalue)


def fit_of(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[float, float, float, float] | None, str]:
    """The rows that the line is fitted to (the first group's), its fit (see ``fit_line``), and the same in words."""
    groups = table["group"].unique().tolist() if "group" in table else []
    rows = table[table["group"] == groups[0]] if len(groups) > 1 else table
    fit = fit_line(rows["score"].to_numpy(), rows["benchmark"].to_numpy())
    of = f" of {printable(groups[0], 40)}" if len(groups) > 1 else ""
    if fit is None:
        return rows, None, f"n = {len(rows)}{of}"
    return rows, fit, f"least-squares line{of}: R² = {fit[2]:.3f}, p = {fit[3]:.2g}, n = {len(rows)}"


def scatter(
    table: pd.DataFrame, *, score_label: str = "coupling 1 − m", benchmark_label: str = "benchmark score",
    labels: bool = True,
) -> Figure:  # fmt: skip
    """A point a model with its name, and the least-squares line of benchmark on score with R² and p.

    The line is fitted to the first group alone where there are several, and the legend says so.

    Args:
        table: columns of ``coupling.figures.columns.SCATTER``; rows without both numbers are left out.
        score_label: names the horizontal axis.
        benchmark_label: names the vertical axis.
        labels: name the points; a name for which there is no free place is left out.

    Raises:
        CouplingError: if a column is missing, or no row is complete.
    """
    table = complete_rows(table)
    groups = table["group"].unique().tolist() if "group" in table else [None]
    with styled():
        figure = new_figure(0.85 * WIDTH, 1.15 * WIDTH)
        axes = figure.subplots()
        for index, group in enumerate(groups):
            rows = table if group is None else table[table["group"] == group]
            name = legend_name(group) if group else None
            axes.plot(rows["score"], rows["benchmark"], MARKS[(index + index // len(MARKS)) % len(MARKS)], markersize=5,
                      color=PALETTE[index % len(PALETTE)], label=name)  # fmt: skip
        fitted, fit, said = fit_of(table)
        if fit is not None:
            slope, intercept, *_ = fit
            ends = np.array([fitted["score"].min(), fitted["score"].max()])
            axes.plot(ends, slope * ends + intercept, "-", color=GRAY, linewidth=1.2, zorder=0, label=said)
        axes.set(xlabel=score_label, ylabel=benchmark_label)
        axes.margins(0.14)
        handles, names = axes.get_legend_handles_labels()
        if handles:
            legend_above(figure, handles, names, columns=1 if len(names) <= 3 else 3)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        if labels:
            _name_points(axes, table, fit)
    return figure


def _name_points(axes: Axes, table: pd.DataFrame, fit: tuple[float, float, float, float] | None) -> None:
    x, y = table["score"].to_numpy(), table["benchmark"].to_numpy()
    lines: dict = {}
    if fit is not None:
        ends = np.array([x.min(), x.max()])
        lines = {"x_lines": [ends], "y_lines": [fit[0] * ends + fit[1]]}
    axes.autoscale(False)  # a leader line must not move what was placed
    names = [printable(name.rstrip("/").split("/")[-1], 28) for name in table["model"]]
    textalloc.allocate(
        axes, x, y, names, x_scatter=x, y_scatter=y, textsize=7.5 if len(x) <= 20 else 6.5, linecolor=GRAY,
        linewidth=0.5, draw_all=False, max_distance=0.4, min_distance=0.012, margin=0.004, nbr_candidates=1500,
        avoid_label_lines_overlap=True, avoid_crossing_label_lines=True, **lines,
    )  # fmt: skip
