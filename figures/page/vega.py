"""What the report's charts share: parameters bound to the page's controls, numbers made short, and notes."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from coupling.untrusted import clean

SCALE = 10_000
"""Coupling is stored as a whole number of parts of this size, which keeps the page small."""
CONTROLS = {"K": "k", "P": "p", "V": "variant", "T": "prompt", "B": "block"}
"""Parameter of the charts -> the page's control."""
SIDE = 300
"""Pixels of a square chart's side."""
CHORD = "#3a93d8"
GRAY = "#888888"
BY_ORDER = alt.Scale(scheme=alt.SchemeParams(name="viridis", extent=[0.25, 1]))
"""For the order of blocks, ranks and tokens; without the map's dark end, which cannot be seen on a dark page."""
FIRST_IF_MEAN = "max(0, toNumber(T))"
"""The prompt in charts of single tokens, which show the first prompt if the mean over prompts is chosen."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ChartWithData:
    """A chart, and the rows of its named data sources.

    They are joined only in the specification: Altair would check every number of the rows against its schema.
    """

    chart: Any
    data: dict[str, list[Row]]

    def specification(self) -> dict[str, Any]:
        """The Vega-Lite specification, ready for JSON."""
        return cleaned(self.chart.to_dict()) | {"datasets": self.data}


def cleaned(value: Any) -> Any:
    r"""A part of a specification in which every text is clean: Vega puts labels into expressions that it parses.

    Example:
        >>> cleaned({"title": ["a\u2028b", 1]})
        {'title': ['a\\u2028b', 1]}
    """
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return clean(value, None, keep="\n") if isinstance(value, str) else value


def parameters(names: str) -> list[alt.Parameter]:
    """Parameters bound to the page's own controls, by their letters in ``CONTROLS``."""
    return [
        alt.param(name=name, bind=alt.BindDirect(element=f"#control-{CONTROLS[name]}", event="change"), value="")
        for name in names
    ]


def is_chosen(names: str, *, prompt: str = "toNumber(T)") -> str:
    """A Vega expression that is true for the row that the controls choose.

    Args:
        names: letters of ``CONTROLS``.
        prompt: the expression of the prompt's number.
    """
    tests = {
        "K": "datum.k == toNumber(K)",
        "P": "datum.p == toNumber(P)",
        "V": "datum.v == V",
        "T": f"datum.t == {prompt}",
        "B": "datum.block == B",
    }
    return " && ".join(tests[name] for name in names)


def note_above(base: alt.Chart) -> alt.Chart:
    """The text in the field ``note``, above the chart."""
    text = base.mark_text(align="left", baseline="bottom", fontSize=12)
    return text.encode(x=alt.value(0), y=alt.value(-6), text="note:N")


def in_parts(values: np.ndarray) -> list[int | None]:
    """Numbers as whole parts (see ``SCALE``); null where they are not finite."""
    values = values.ravel()
    is_finite = np.isfinite(values)
    parts = np.rint(np.where(is_finite, values, 0) * SCALE).astype(int).tolist()
    return [part if finite else None for part, finite in zip(parts, is_finite.tolist(), strict=True)]


def short_numbers(values: np.ndarray, digits: int = 4) -> list[float | None]:
    """Numbers with ``digits`` significant digits; null where they are not finite.

    Example:
        >>> import numpy as np
        >>> short_numbers(np.array([1.23456, np.nan]))
        [1.235, None]
    """
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.ravel()]
