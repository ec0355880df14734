"""The study's picture: trained against random weights, and how the excess falls with the distance of blocks."""

import pandas as pd
from matplotlib.figure import Figure

from coupling.analyses.studies.real_models.results import DISTANCE_K
from coupling.figures.style import GRAY, PALETTE, legend_above, new_figure, styled

PICTURE = "real-models.png"
"""The file."""
SHARE = "diagonal share"


def draw(measures: pd.DataFrame, distances: pd.DataFrame) -> Figure:
    """Two panels: the diagonal share of trained and of random weights, and the excess by distance.

    Args:
        measures: of ``coupling.analyses.studies.real_models.results.measures_table``.
        distances: of its ``distance_table``.
    """
    models = list(dict.fromkeys(distances["model"]))
    at = measures[(measures["kind"] == "depth") & (measures["k_name"] == str(DISTANCE_K))]
    shares = at[at["measure"] == SHARE].set_index(["model", "weights"])["value"]
    with styled():
        figure = new_figure(5)
        upper, lower = figure.subplots(2, 1, height_ratios=[1, 1.7])
        for index, model in enumerate(models):
            color = PALETTE[index % len(PALETTE)]
            for weights, filled in (("random", "none"), ("trained", color)):
                upper.scatter([shares[model, weights]], [index], 60, facecolors=filled, edgecolors=color, zorder=3)
                part = distances[(distances["model"] == model) & (distances["weights"] == weights)]
                lower.plot(
                    part["distance"],
                    part["excess"],
                    color=color,
                    linestyle="-" if weights == "trained" else ":",
                    label=f"{model}, {weights}",
                )
        upper.axvline(1 / DISTANCE_K, color=GRAY, linestyle="--", label="chance, 1/K")
        upper.set_yticks(range(len(models)), models)
        upper.set_ylim(len(models) - 0.5, -0.5)
        upper.set_xlim(0, 1.05)
        upper.set_xlabel(f"diagonal share, K = {DISTANCE_K} (filled: trained)")
        lower.set_xlabel("distance of two blocks")
        lower.set_ylabel("excess over chance, p = 2")
        handles, labels = lower.get_legend_handles_labels()
        chance, names = upper.get_legend_handles_labels()
        legend_above(figure, [*handles, *chance], [*labels, *names], columns=2)
    return figure
