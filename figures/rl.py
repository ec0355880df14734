"""RL: reward, excess over chance, effective sample size, KL and coupling through reinforcement learning."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coupling.errors import CouplingError
from coupling.figures.chance_line import draw_chance, explain_chance, has_chance
from coupling.figures.columns import RL
from coupling.figures.style import legend_above, legend_name, line_look, new_figure, styled

PANELS = {
    "reward": "mean reward",
    "excess": "excess over\nchance",
    "ess": "effective\nsample size",
    "kl": "KL, nats\nper token",
    "score": "coupling\n1 − m",
    "mismatch_to_initial": "mismatch\nto initial",
}
"""Columns that have a panel, with the name of its axis."""


def rl(table: pd.DataFrame) -> Figure:
    r"""Reward, excess, effective sample size, KL, coupling and mismatch to the initial policy against the step.

    Args:
        table: columns of ``coupling.figures.columns.RL``; a quantity that the table does not contain has no panel.
            Several rows of one run and step are seeds, drawn as their mean with a band from the lowest to the highest.

    Returns:
        The picture.

    Raises:
        CouplingError: if a column is missing or does not contain numbers.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"step": [0, 1], "reward": [0.1, 0.5], "ess": [1.0, 0.9]})
        >>> [axes.get_ylabel() for axes in rl(table).axes]
        ['mean reward', 'effective\nsample size']
    """
    table = RL.check(table, "rl")
    quantities = [name for name in PANELS if name in table and bool(table[name].notna().any())]
    if not quantities:
        raise CouplingError(f"the table of the picture rl contains no numbers in {', '.join(PANELS)}")
    runs = list(table.groupby("run", sort=False)) if "run" in table else [("", table)]
    with styled():
        figure = new_figure(1.15 * len(quantities) + 0.8)
        all_axes = figure.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(all_axes, quantities, strict=True):
            for index, (name, rows) in enumerate(runs):
                _draw(axes, rows, quantity, line_look(index), legend_name(name))
            axes.set_ylabel(PANELS[quantity])
            axes.yaxis.set_major_locator(MaxNLocator(4))
            if quantity == "excess":
                axes.yaxis.set_major_formatter(PercentFormatter(1))
            if quantity in ("ess", "mismatch_to_initial"):
                highest: Any = table[quantity].max()
                axes.set_ylim(0, max(1.05, 1.05 * highest))
        lowest = all_axes[-1]
        lowest.set_xlabel("step")
        lowest.xaxis.set_major_locator(MaxNLocator(integer=True))
        if "score" in quantities and has_chance(table):
            explain_chance(lowest)
        figure.align_ylabels()
        handles, labels = lowest.get_legend_handles_labels()
        if any(labels):
            legend_above(figure, handles, labels)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, quantity: str, look: dict[str, Any], name: str) -> None:
    rows = rows.dropna(subset=[quantity])
    by_step: Any = rows.groupby("step")[quantity]
    mean = by_step.mean()
    axes.plot(mean.index, mean, marker="." if len(mean) < 30 else None, label=name or None, **look)
    if by_step.count().max() > 1:
        axes.fill_between(mean.index, by_step.min(), by_step.max(), color=look["color"], alpha=0.18, linewidth=0)
    if quantity == "score":
        draw_chance(axes, rows, look["color"])
