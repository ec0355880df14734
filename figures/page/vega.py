"""What the report's charts share: parameters bound to the page's controls, and numbers made short."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

MEAN = -1
"""The prompt's number that stands for the mean over prompts."""
SCALE = 10_000
"""Coupling is kept in whole parts of this."""
CONTROLS = {"K": "k", "P": "p", "V": "variant", "T": "prompt", "B": "block"}
"""Parameter of the charts -> the page's control."""
SIDE = 300
CHORD = "#3a93d8"
BY_ORDER = alt.Scale(scheme=alt.SchemeParams(name="viridis", extent=[0.25, 1]))
"""The order of blocks, ranks and tokens; without the map's dark end, which a dark page would swallow."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A chart, and the rows that its named data sources hold.

    They come together only in the specification: Altair would check every number of them against its schema.
    """

    chart: Any
    data: dict[str, list[Row]]

    def specification(self) -> dict[str, Any]:
        """Vega-Lite, as JSON knows it."""
        return self.chart.to_dict() | {"datasets": self.data}


def parameters(names: str) -> list[alt.Parameter]:
    """Parameters bound to the page's own controls, by their letters in ``CONTROLS``."""
    return [
        alt.param(name=name, bind=alt.BindDirect(element=f"#control-{CONTROLS[name]}", event="change"), value="")
        for name in names
    ]


def chosen(*names: str, prompt: str = "toNumber(T)") -> str:
    """A Vega expression: the row is the one that the controls name."""
    tests = {
        "K": "datum.k == toNumber(K)",
        "P": "datum.p == toNumber(P)",
        "V": "datum.v == V",
        "T": f"datum.t == {prompt}",
        "B": "datum.block == B",
    }
    return " && ".join(tests[name] for name in names)


MOST_LABELS = 25
"""Models that are named beside their points; more would lie on each other."""
FIRST_IF_MEAN = "max(0, toNumber(T))"
"""Pictures of single tokens show the first prompt where the mean over prompts is chosen."""


def whole(values: np.ndarray) -> list[int | None]:
    """Numbers in whole parts of ``SCALE``; null where there is none."""
    return [None if not np.isfinite(value) else round(float(value) * SCALE) for value in values.ravel()]


def numbers(values: np.ndarray, digits: int = 4) -> list[float | None]:
    """Numbers with so many significant digits; null where there is none."""
    return [None if not np.isfinite(value) else float(f"{value:.{digits}g}") for value in values.ravel()]
