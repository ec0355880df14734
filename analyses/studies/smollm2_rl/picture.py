"""The study's picture: the chance of the right answer on held-out prompts against the update."""

import pandas as pd
from matplotlib.figure import Figure

from coupling.figures.style import LINE_STYLES, PALETTE, legend_above, new_figure, styled


def draw(curves: pd.DataFrame) -> Figure:
    """One line per run: its color is the objective, its dashes the seed.

    Args:
        curves: the table of ``coupling.analyses.studies.smollm2_rl.results.read_curves``.
    """
    objectives, seeds = (list(dict.fromkeys(curves[name])) for name in ("objective", "seed"))
    with styled():
        figure = new_figure(3.0)
        axes = figure.subplots()
        for (objective, seed), part in curves.groupby(["objective", "seed"], sort=False):
            axes.plot(
                part["step"],
                part["held_out_reward"],
                label=f"{objective}, seed {seed}",
                color=PALETTE[objectives.index(objective)],
                linestyle=LINE_STYLES[seeds.index(seed) % len(LINE_STYLES)],
                marker="o",
                markersize=3,
            )
        axes.set_ylim(0, None)
        axes.set_xlabel("update")
        axes.set_ylabel("chance of the right answer")
        legend_above(figure, *axes.get_legend_handles_labels())
    return figure
