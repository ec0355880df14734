"""RL: reward, effective sample size, KL and coupling through reinforcement learning."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from coupling.errors import CouplingError
from coupling.figures.columns import RL
from coupling.figures.style import legend_above, legend_name, line_look, new_figure, styled

PANELS = {
    "reward": "mean reward",
    "ess": "effective\nsample size",
    "kl": "KL, nats\na token",
    "score": "coupling\n1 − m",
    "mismatch_to_initial": "mismatch\nto initial",
}


def rl(table: pd.DataFrame) -> Figure:
    """Reward, effective sample size, KL, coupling and mismatch to the initial policy against step, on one axis.

    Args:
        table: columns of ``coupling.figures.columns.RL``; a quantity that the table does not hold has no panel.
            Several rows of a run and step are seeds, drawn as their mean with a band from the least to the most.

    Raises:
        CouplingError: if a column is missing or holds no numbers.
    """
    table = RL.check(table, "rl")
    held = [name for name in PANELS if name in table and table[name].notna().any()]
    if not held:
        raise CouplingError(f"the table of the picture rl holds no numbers in {', '.join(PANELS)}")
    runs = list(table.groupby("run", sort=False)) if "run" in table else [("", table)]
    with styled():
        figure = new_figure(1.15 * len(held) + 0.8)
        all_axes = figure.subplots(len(held), 1, sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(all_axes, held, strict=True):
            for index, (name, rows) in enumerate(runs):
                _draw(axes, rows, quantity, line_look(index), legend_name(name))
            axes.set_ylabel(PANELS[quantity])
            axes.yaxis.set_major_locator(MaxNLocator(4))
            if quantity in ("ess", "mismatch_to_initial"):
                axes.set_ylim(0, max(1.05, 1.05 * float(table[quantity].max())))
        all_axes[-1].set_xlabel("step")
        all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        if "score" in held and "chance" in table and table["chance"].notna().any():
            all_axes[-1].plot([], [], "--", linewidth=1, color="#444444", label="chance")
        figure.align_ylabels()
        handles, labels = all_axes[-1].get_legend_handles_labels()
        if any(labels):
            legend_above(figure, handles, labels)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, quantity: str, look: dict, name: str) -> None:
    rows = rows.dropna(subset=[quantity])
    by_step = rows.groupby("step")[quantity]
    mean, color = by_step.mean(), look["color"]
    axes.plot(mean.index, mean, marker="." if len(mean) < 30 else None, label=name or None, **look)
    if by_step.count().max() > 1:
        axes.fill_between(mean.index, by_step.min(), by_step.max(), color=color, alpha=0.18, linewidth=0)
    if quantity == "score" and "chance" in rows and rows["chance"].notna().any():
        level = rows.groupby("step")["chance"].mean()
        axes.plot(level.index, level, "--", linewidth=1, color=color, alpha=0.8)
