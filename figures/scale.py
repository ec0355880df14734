"""The range of a color scale: a few values that dwarf all others do not set it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Extend = Literal["neither", "min", "max", "both"]
"""At which ends of a color bar values lie beyond it; matplotlib draws a point there."""

OUTLYING = 4.0
"""Values further from the median than this multiple of the distance of the ``SHARE`` quantile are cut."""
SHARE = 0.95


def limits(tables: Sequence[np.ndarray], levels: Sequence[float] = ()) -> tuple[float, float, Extend]:
    """The lowest and the highest value of a scale that is shared by several tables.

    Each end is the extreme value, unless it is ``OUTLYING`` times as far from the median as all but 5 % of the values
    on its side; then it is that quantile.

    Args:
        tables: arrays of any shape; NaN is left out.
        levels: values that the scale must contain, such as chance levels.

    Returns:
        The two ends, and at which of them values are cut.

    Example:
        >>> import numpy as np
        >>> low, high, extend = limits([np.array([0.0, *np.linspace(1, 2, 400), 50.0])])
        >>> low, round(high, 2), extend
        (0.0, 1.95, 'max')
    """
    values = np.concatenate([np.asarray(table, dtype=float).ravel() for table in tables])
    values = values[np.isfinite(values)]
    if not len(values):
        return min(levels, default=0.0), max(levels, default=1.0), "neither"
    middle = float(np.median(values))
    low, high = float(values.min()), float(values.max())
    usual_low, usual_high = (float(quantile) for quantile in np.quantile(values, [1 - SHARE, SHARE]))
    cuts_low = usual_low < middle and middle - low > OUTLYING * (middle - usual_low)
    cuts_high = usual_high > middle and high - middle > OUTLYING * (usual_high - middle)
    low, high = usual_low if cuts_low else low, usual_high if cuts_high else high
    names: dict[tuple[bool, bool], Extend] = {
        (False, False): "neither",
        (True, False): "min",
        (False, True): "max",
        (True, True): "both",
    }
    return min([low, *levels]), max([high, *levels]), names[cuts_low, cuts_high]
