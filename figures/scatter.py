"""Scatter: score against benchmark, with the least-squares line."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import textalloc
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from coupling.choices import ScatterAxis
from coupling.errors import CouplingError
from coupling.figures.columns import SCATTER
from coupling.figures.style import (
    GRAY,
    PALETTE,
    WIDTH,
    legend_above,
    legend_name,
    new_figure,
    plain_log_ticks,
    printable,
    styled,
)

MARKS = ("o", "s", "^", "D", "v", "P", "X")


class Fit(NamedTuple):
    """A least-squares line."""

    slope: float
    intercept: float
    r_squared: float
    p_value: float


def complete_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that contain both a score and a benchmark.

    Raises:
        CouplingError: if there is none, or a column is missing.
    """
    table = SCATTER.check(table, "scatter").dropna(subset=["score", "benchmark"])
    if table.empty:
        raise CouplingError("no row of the scatter's table contains both a score and a benchmark")
    return table


def fit_line(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Fit | None:
    """The least-squares line of y on x; None for fewer than 3 points or a constant.

    Example:
        >>> import numpy as np
        >>> fit = fit_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
        >>> fit.slope, fit.intercept, fit.r_squared
        (2.0, 1.0, 1.0)
    """
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    from scipy.stats import linregress  # takes half a second to import, as much as all pictures together

    line = linregress(x, y)
    return Fit(float(line.slope), float(line.intercept), float(line.rvalue**2), float(line.pvalue))


def fit_first_group(table: pd.DataFrame) -> tuple[pd.DataFrame, Fit | None, str]:
    """The line through the first group's points, or through all where there are no groups.

    Returns:
        The rows that the line is fitted to, the line (see ``fit_line``), and the same in words.
    """
    groups = table["group"].unique().tolist() if "group" in table else []
    rows: Any = table[table["group"] == groups[0]] if len(groups) > 1 else table
    fit = fit_line(rows["score"].to_numpy(), rows["benchmark"].to_numpy())
    of_group = f" of {printable(groups[0], 40)}" if len(groups) > 1 else ""
    if fit is None:
        return rows, None, f"n = {len(rows)}{of_group}"
    words = f"least-squares line{of_group}: R² = {fit.r_squared:.3f}, p = {fit.p_value:.2g}, n = {len(rows)}"
    return rows, fit, words


def scatter(
    table: pd.DataFrame,
    *,
    score_label: str = "coupling 1 − m",
    benchmark_label: str = "benchmark score",
    labels: bool = True,
    against: ScatterAxis = "score",
) -> Figure:
    """One point per model, with its name, and the least-squares line of benchmark on score with R² and p.

    If there are several groups, the line is fitted to the first alone, and the legend says so. Against the width, the
    score itself is drawn, with the chance curve where the table has a column ``chance``: a score at p = 1 that follows
    the curve says how wide a model is.

    Args:
        table: columns of ``coupling.figures.columns.SCATTER``; rows without both numbers are left out.
        score_label: the name of the score's axis.
        benchmark_label: the name of the benchmark's axis.
        labels: name the points; a name without a free place is left out.
        against: the horizontal axis: "score" for benchmark against score, "width" for score against width.

    Returns:
        The picture.

    Raises:
        CouplingError: if a column is missing, or no row is complete.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"model": ["a", "b", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1, 2, 3]})
        >>> scatter(table, benchmark_label="accuracy").axes[0].get_ylabel()
        'accuracy'
    """
    table = complete_rows(table)
    if against == "width":
        table = _with_width(table)
    x, y = ("width", "score") if against == "width" else ("score", "benchmark")
    with styled():
        figure = new_figure(0.85 * WIDTH, 1.15 * WIDTH)
        axes = figure.subplots()
        _draw_points(axes, table, x, y)
        if against == "width":
            fit = None
            _draw_chance_curve(axes, table)
            axes.set(xlabel="width d", ylabel=score_label, xscale="log")
            plain_log_ticks(axes.xaxis)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        else:
            fit = _draw_line(axes, table)
            axes.set(xlabel=score_label, ylabel=benchmark_label)
        axes.margins(0.14)
        handles, names = axes.get_legend_handles_labels()
        if handles:
            legend_above(figure, handles, names, columns=1 if len(names) <= 3 else 3)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the names below are placed in the layout that it made
        if labels:
            _name_points(axes, table, fit, x, y)
    return figure


def _with_width(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a width.

    Raises:
        CouplingError: if there is none.
    """
    rows = table.dropna(subset=["width"]) if "width" in table else table.iloc[:0]
    if rows.empty:
        raise CouplingError("the scatter's table has no column width with numbers, so `against` cannot be width")
    return rows


def _draw_chance_curve(axes: Axes, table: pd.DataFrame) -> None:
    """The chance level of the first group by width, dashed."""
    if "chance" not in table:
        return
    first = table if "group" not in table else table[table["group"] == table["group"].iloc[0]]
    curve = first.dropna(subset=["chance"]).groupby("width")["chance"].mean()
    axes.plot(curve.index, curve, "--", linewidth=1.2, color=GRAY, zorder=0, label="chance")


def _draw_points(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """A color and a mark for each group."""
    groups = table["group"].unique().tolist() if "group" in table else [None]
    for index, group in enumerate(groups):
        rows = table if group is None else table[table["group"] == group]
        axes.plot(
            rows[x],
            rows[y],
            MARKS[(index + index // len(MARKS)) % len(MARKS)],
            markersize=5,
            color=PALETTE[index % len(PALETTE)],
            label=legend_name(group) if group else None,
        )


def _draw_line(axes: Axes, table: pd.DataFrame) -> Fit | None:
    rows, fit, words = fit_first_group(table)
    if fit is not None:
        ends = np.array([rows["score"].min(), rows["score"].max()])
        axes.plot(ends, fit.slope * ends + fit.intercept, "-", color=GRAY, linewidth=1.2, zorder=0, label=words)
    return fit


def _name_points(axes: Axes, table: pd.DataFrame, fit: Fit | None, horizontal: str, vertical: str) -> None:
    x, y = table[horizontal].to_numpy(), table[vertical].to_numpy()
    lines: dict[str, Any] = {}
    if fit is not None:
        ends = np.array([x.min(), x.max()])
        lines = {"x_lines": [ends], "y_lines": [fit.slope * ends + fit.intercept]}
    axes.autoscale(False)  # a leader line must not move what was placed
    names = [printable(name.rstrip("/").split("/")[-1], 28) for name in table["model"]]
    textalloc.allocate(
        axes,
        x,
        y,
        names,
        x_scatter=x,
        y_scatter=y,
        textsize=7.5 if len(x) <= 20 else 6.5,
        linecolor=GRAY,
        linewidth=0.5,
        draw_all=False,
        max_distance=0.4,
        min_distance=0.012,
        margin=0.004,
        nbr_candidates=1500,
        avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
        **lines,
    )
