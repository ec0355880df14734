"""The axis of training steps: logarithmic, with a place for step 0."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator


def scale_steps(axes: Axes, steps: pd.Series) -> None:
    """A logarithmic axis with a place for step 0."""
    positive = steps[steps > 0]
    if len(positive):
        axes.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5, base=10)
    axes.set_xticks(step_ticks(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_step(value)))


def step_ticks(steps: pd.Series) -> list[float]:
    """Zero if it was measured, and powers of ten, four or two; the steps themselves if fewer than three powers fit."""
    low, high = float(steps[steps > 0].min()) if (steps > 0).any() else 1.0, float(steps.max())
    zero: list[float] = [0.0] if (steps == 0).any() else []
    for base in (10, 4, 2):
        powers = [float(base**power) for power in range(64) if low <= base**power <= high]
        if len(powers) >= 3:
            return zero + powers
    distinct = sorted(set(steps.tolist()))
    return distinct[:: max(1, -(-len(distinct) // 6))]


def short_step(value: float) -> str:
    """A step as a short text: 5000, 143k, 2M.

    Example:
        >>> short_step(143000)
        '143k'
    """
    if value >= 1e9:
        return f"{value / 1e9:g}B"
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"
