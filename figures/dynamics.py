"""Dynamics: coupling and the trajectories' measures through training, one panel per measure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coupling.errors import CouplingError
from coupling.figures.chance_line import draw_chance, explain_chance, has_chance
from coupling.figures.columns import DYNAMICS
from coupling.figures.steps import scale_steps
from coupling.figures.style import WIDTH, legend_above, legend_name, line_look, new_figure, plain_log_ticks, styled
from coupling.shares import K, rows_at_k

PANELS = {
    "excess": "excess",
    "score": "coupling 1 − m",
    "diagonal_share": "diagonal share",
    "aligned_energy": "aligned energy",
    "line_shape_score": "line-shape\nscore",
    "expodistance": "expodistance",
    "residual_growth": "growth of the\nresidual norm",
}
"""Columns that have a panel, with the name of its axis; the chance level is dashed in the panel of the score."""
OF_K = ("diagonal_share", "aligned_energy")
"""Panels that depend on K, but not on p; the dashed line in that of the diagonal share is its chance level, 1 / K."""
WIDE = 20
"""From this ratio of largest to smallest on, a panel's axis is logarithmic (the measures of trajectories only)."""


def dynamics(
    table: pd.DataFrame, *, k: K | None = None, norm: int | None = None, score_label: str | None = None
) -> Figure:
    """Every measure of the table against the training step, one line per model, with the score's chance level dashed.

    The axis of steps is logarithmic, with step 0 at its left end. Where a model has several seeds, its line is their
    mean, and the band is from the lowest to the highest seed; otherwise the band is the middle 80% of its prompts.

    Args:
        table: columns of ``coupling.figures.columns.DYNAMICS``, such as ``coupling.analyses.dynamics.dynamics_table``
            makes them; a measure that the table does not contain has no panel.
        k: number of top singular vectors, or a share of the width such as "10%", where the table has several; default:
            its largest.
        norm: p, where the table has both; default: 2.
        score_label: the name of the score's axis.

    Returns:
        The picture.

    Raises:
        CouplingError: if a column is missing or does not contain numbers, a step is below 0, or the table has no rows
            of this K or p.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"model": ["a", "a"], "step": [0, 1000], "score": [0.02, 0.1], "excess": [0.0, 0.1]})
        >>> [axes.get_ylabel() for axes in dynamics(table).axes]
        ['excess', 'coupling 1 − m']
    """
    table = DYNAMICS.check(table, "dynamics").dropna(subset=["step", "score"])
    if table.empty:
        raise CouplingError("no row of the dynamics' table contains both a step and a score")
    steps: Any = table["step"]
    if (steps < 0).any():
        raise CouplingError(f"step {steps.min():g} in the dynamics' table is below 0")
    table, of_k, of_k_and_p = _at(table, k, norm)
    panels = [name for name in PANELS if name in table and bool(table[name].notna().any())]
    models = list(table.groupby("model", sort=False))
    with styled():
        figure = new_figure(0.6 * WIDTH if len(panels) == 1 else 1.25 * len(panels) + 0.9)
        of_measure = {"score": of_k_and_p, "excess": of_k_and_p} | dict.fromkeys(OF_K, of_k)
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, measure in zip(all_axes, panels, strict=True):
            for index, (name, rows) in enumerate(models):
                _draw(axes, rows, measure, line_look(index), legend_name(name))
            _scale_values(axes, measure, table[measure])
            axes.set_ylabel(PANELS[measure] + of_measure.get(measure, ""))
            if measure == "excess":
                axes.yaxis.set_major_formatter(PercentFormatter(1))
            if measure == "score" and score_label is not None:
                axes.set_ylabel(score_label)
        if has_chance(table):
            explain_chance(all_axes[0])
        scale_steps(all_axes[-1], table["step"])
        all_axes[-1].set_xlabel("training step")
        figure.align_ylabels()
        if len(models) > 1 or "chance" in table:
            handles, labels = all_axes[0].get_legend_handles_labels()
            legend_above(figure, handles, labels)
    return figure


def _at(table: pd.DataFrame, k: K | None, norm: int | None) -> tuple[pd.DataFrame, str, str]:
    """The rows of one K and p, and how an axis says which: K alone, and both."""
    label = []
    table, of_k = rows_at_k(table, k)
    if of_k:
        label.append(f"K = {of_k}")
    if "norm" in table:
        known = sorted({int(value) for value in table["norm"].dropna()})
        value = norm if norm is not None else 2 if 2 in known else known[-1]
        if value not in known:
            raise CouplingError(f"the dynamics' table has no rows with norm = {value}, but with {known}")
        table = table[table["norm"] == value]
        label.append(f"p = {value}")
    elif norm is not None:
        raise CouplingError("the dynamics' table has no column norm, so `norm` cannot choose its rows")
    return table, "".join(f"\n{part}" for part in label[:1] if of_k), f"\n{', '.join(label)}" if label else ""


def _draw(axes: Axes, rows: pd.DataFrame, measure: str, look: dict[str, Any], name: str) -> None:
    rows = rows.dropna(subset=[measure])
    has_seeds = "seed" in rows and rows["seed"].nunique() > 1
    by_seed: Any = rows.groupby(["step", "seed"])[measure].mean().reset_index() if has_seeds else rows
    by_step: Any = by_seed.groupby("step")[measure]
    mean = by_step.mean()
    axes.plot(mean.index, mean, marker="o", markersize=3.5, label=name, **look)
    if by_step.count().max() > 1:
        low, high = (by_step.min(), by_step.max()) if has_seeds else (by_step.quantile(0.1), by_step.quantile(0.9))
        axes.fill_between(mean.index, low, high, color=look["color"], alpha=0.18, linewidth=0)
    if measure == "score":
        draw_chance(axes, rows, look["color"])
    elif measure == "diagonal_share" and "k" in rows:
        chance: Any = 1 / rows.groupby("step")["k"].first()
        axes.plot(chance.index, chance, "--", linewidth=1, color=look["color"], alpha=0.8)


def _scale_values(axes: Axes, measure: str, values: pd.Series) -> None:
    """A logarithmic axis for a measure of trajectories that spans several powers of ten."""
    if measure not in ("score", "excess", *OF_K) and values.min() > 0 and values.max() > WIDE * values.min():
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
