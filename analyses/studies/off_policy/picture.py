"""The study's picture: the held-out reward against the update, one panel per condition."""

import pandas as pd
from matplotlib.figure import Figure

from coupling.figures.style import legend_above, line_look, new_figure, styled


def draw(curves: pd.DataFrame) -> Figure:
    """The held-out reward of every objective in each condition, as the mean over seeds with a band from least to most.

    Args:
        curves: the table of ``coupling.analyses.studies.off_policy.results.read_curves``.
    """
    conditions = list(dict.fromkeys(curves["condition"]))
    objectives = list(dict.fromkeys(curves["objective"]))
    with styled():
        figure = new_figure(1.6 * len(conditions) + 0.8)
        panels = figure.subplots(len(conditions), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, condition in zip(panels, conditions, strict=True):
            for index, objective in enumerate(objectives):
                part = curves[(curves["condition"] == condition) & (curves["objective"] == objective)]
                by_step = part.groupby("step")["held_out_reward"]
                mean, look = by_step.mean(), line_look(index)
                axes.plot(mean.index, mean, label=objective, **look)
                if part["seed"].nunique() > 1:
                    axes.fill_between(
                        mean.index, by_step.min(), by_step.max(), color=look["color"], alpha=0.15, linewidth=0
                    )
            axes.set_ylabel(f"{condition}\nheld-out reward")
        panels[-1].set_xlabel("update")
        legend_above(figure, *panels[-1].get_legend_handles_labels())
    return figure
