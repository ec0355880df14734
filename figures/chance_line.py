"""The dashed line of the chance level, in pictures of tables that have a column ``chance``."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from coupling.figures.style import CHANCE_GRAY


def has_chance(table: pd.DataFrame) -> bool:
    """Whether a table contains chance levels."""
    return "chance" in table and bool(table["chance"].notna().any())


def draw_chance(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    """The mean chance level at each step, dashed in the color of the line that it belongs to."""
    if has_chance(rows):
        level: Any = rows.groupby("step")["chance"].mean()
        axes.plot(level.index, level, "--", linewidth=1, color=color, alpha=0.8)


def explain_chance(axes: Axes) -> None:
    """An entry in the legend for all dashed lines."""
    axes.plot([], [], "--", linewidth=1, color=CHANCE_GRAY, label="chance")
