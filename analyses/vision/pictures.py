"""The pictures of the study: measures against the stochastic-depth rate, and accuracy against coupling."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from coupling.figures.scatter import fit_line
from coupling.figures.style import GRAY, PALETTE, WIDTH, legend_above, line_look, new_figure, styled

MARKS = ("o", "s", "^", "D", "v", "P", "X")
ACCURACY = "test_accuracy"
SHOWN = {"line-shape score": "line-shape\nscore", "expodistance": "expodistance"}
"""Measures that have a row below accuracy and coupling, where the table has them, and the names of their axes."""


def rates(table: pd.DataFrame, measure: str) -> Figure:
    """Accuracy, coupling and the trajectories' measures against the stochastic-depth rate; a column per length.

    Lines are means over seeds, one per depth and weight decay; bands are from the lowest to the highest seed.

    Args:
        table: of ``coupling.analyses.vision.results.gather``.
        measure: the measure that stands for coupling.

    Returns:
        The picture.
    """
    rows = {ACCURACY: "accuracy", measure: _on_two_lines(measure)}
    rows |= {name: label for name, label in SHOWN.items() if name in table}
    lengths = sorted(table["epochs"].unique())
    with styled():
        figure = new_figure(1.45 * len(rows) + 0.8, WIDTH)
        all_axes = figure.subplots(len(rows), len(lengths), sharex=True, squeeze=False)
        for row, (column, label) in zip(all_axes, rows.items(), strict=True):
            for axes, length in zip(row, lengths, strict=True):
                _draw_rates(axes, table[table["epochs"] == length], column)
                axes.yaxis.set_major_locator(MaxNLocator(5))
                if column != ACCURACY and axes is not row[0]:  # accuracies of different lengths hardly overlap
                    axes.sharey(row[0])
                    axes.tick_params(labelleft=False)
            row[0].autoscale(axis="y")
            row[0].set_ylabel(label)
        for axes, length in zip(all_axes[0], lengths, strict=True):
            axes.set_title(f"{length} epochs")
        for axes in all_axes[-1]:
            axes.set_xlabel("stochastic-depth rate")
        figure.align_ylabels()
        handles, names = all_axes[0, 0].get_legend_handles_labels()
        legend_above(figure, handles, names, columns=2)
    return figure


def _draw_rates(axes: Axes, table: pd.DataFrame, column: str) -> None:
    grouped: Any = table.groupby(["depth", "weight_decay"])
    for index, ((depth, decay), models) in enumerate(grouped):
        by_rate: Any = models.groupby("stochastic_depth")[column]
        mean, look = by_rate.mean(), line_look(index)
        label = f"{depth} blocks, weight decay {decay:g}"
        axes.plot(mean.index, mean, marker=MARKS[index % len(MARKS)], markersize=4, label=label, **look)
        axes.fill_between(mean.index, by_rate.min(), by_rate.max(), color=look["color"], alpha=0.15, linewidth=0)


def accuracies(table: pd.DataFrame, measure: str) -> Figure:
    """Accuracy against coupling, one panel per training length, with the line through the configurations' means.

    A small point is one model, a large one the mean of a configuration's seeds; colors are depths.

    Args:
        table: of ``coupling.analyses.vision.results.gather``.
        measure: the measure that stands for coupling.

    Returns:
        The picture.
    """
    lengths = sorted(table["epochs"].unique())
    with styled():
        figure = new_figure(3.1, WIDTH)
        all_axes = figure.subplots(1, len(lengths), squeeze=False)[0]
        for axes, length in zip(all_axes, lengths, strict=True):
            _draw_accuracies(axes, table[table["epochs"] == length], measure)
            axes.set_title(f"{length} epochs")
            axes.set_xlabel(measure)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        all_axes[0].set_ylabel("accuracy on held-out images")
        handles, names = all_axes[0].get_legend_handles_labels()
        legend_above(figure, handles, names)
    return figure


def _draw_accuracies(axes: Axes, table: pd.DataFrame, measure: str) -> None:
    means: Any = table.groupby(["stochastic_depth", "weight_decay", "depth"])[[measure, ACCURACY]].mean()
    for index, depth in enumerate(sorted(table["depth"].unique())):
        color, mark = PALETTE[index], MARKS[index]
        models = table[table["depth"] == depth]
        axes.plot(models[measure], models[ACCURACY], mark, color=color, markersize=2.5, alpha=0.5)
        of_depth = means.xs(depth, level="depth")
        axes.plot(of_depth[measure], of_depth[ACCURACY], mark, color=color, markersize=6, label=f"{depth} blocks")
    fit = fit_line(means[measure].to_numpy(), means[ACCURACY].to_numpy())
    if fit is not None:
        ends = means[measure].agg(["min", "max"]).to_numpy()
        axes.plot(ends, fit.slope * ends + fit.intercept, color=GRAY, linewidth=1.2, zorder=0)


def _on_two_lines(name: str) -> str:
    """The name of a measure for a narrow axis: "excess K=10 p=2" with a line break after its first word."""
    return name.replace(" ", "\n", 1)
