"""Dynamics: the score through training."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from coupling.errors import CouplingError
from coupling.figures.chance_line import draw_chance, explain_chance, has_chance
from coupling.figures.columns import DYNAMICS
from coupling.figures.style import WIDTH, legend_above, legend_name, line_look, new_figure, styled


def dynamics(table: pd.DataFrame, *, score_label: str = "coupling 1 − m") -> Figure:
    """The score against the training step, one line per model, with the chance level dashed.

    The axis of steps is logarithmic, with step 0 at its left end.

    Args:
        table: columns of ``coupling.figures.columns.DYNAMICS``; several rows of one model and step are prompts, drawn
            as their mean with a band of the middle 80%.
        score_label: the name of the vertical axis.

    Returns:
        The picture.

    Raises:
        CouplingError: if a column is missing or does not contain numbers, or a step is below 0.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"model": ["a", "a"], "step": [0, 1000], "score": [0.02, 0.1]})
        >>> dynamics(table).axes[0].get_xlabel()
        'training step'
    """
    table = DYNAMICS.check(table, "dynamics").dropna(subset=["step", "score"])
    if table.empty:
        raise CouplingError("no row of the dynamics' table contains both a step and a score")
    steps: Any = table["step"]
    if (steps < 0).any():
        raise CouplingError(f"step {steps.min():g} in the dynamics' table is below 0")
    with styled():
        figure = new_figure(0.6 * WIDTH)
        axes = figure.subplots()
        for index, (name, rows) in enumerate(table.groupby("model", sort=False)):
            _draw(axes, rows, line_look(index), legend_name(name))
        if has_chance(table):
            explain_chance(axes)
        _scale_steps(axes, steps)
        axes.set(xlabel="training step", ylabel=score_label)
        if len(set(table["model"])) > 1 or "chance" in table:
            handles, labels = axes.get_legend_handles_labels()
            legend_above(figure, handles, labels)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, look: dict[str, Any], name: str) -> None:
    by_step: Any = rows.groupby("step")["score"]
    mean = by_step.mean()
    axes.plot(mean.index, mean, marker="o", markersize=3.5, label=name, **look)
    if by_step.count().max() > 1:
        low, high = by_step.quantile(0.1), by_step.quantile(0.9)
        axes.fill_between(mean.index, low, high, color=look["color"], alpha=0.18, linewidth=0)
    draw_chance(axes, rows, look["color"])


def _scale_steps(axes: Axes, steps: pd.Series) -> None:
    """A logarithmic axis with a place for step 0."""
    positive = steps[steps > 0]
    if len(positive):
        axes.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5, base=10)
    axes.set_xticks(_ticks(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _ticks(steps: pd.Series) -> list[float]:
    """Zero if it was measured, and powers of ten, four or two; the steps themselves if fewer than three powers fit."""
    low, high = float(steps[steps > 0].min()) if (steps > 0).any() else 1.0, float(steps.max())
    zero: list[float] = [0.0] if (steps == 0).any() else []
    for base in (10, 4, 2):
        powers = [float(base**power) for power in range(64) if low <= base**power <= high]
        if len(powers) >= 3:
            return zero + powers
    distinct = sorted(set(steps.tolist()))
    return distinct[:: max(1, -(-len(distinct) // 6))]


def _short(value: float) -> str:
    """A step as a short text: 5000, 143k, 2M."""
    if value >= 1e9:
        return f"{value / 1e9:g}B"
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"
