"""The report's scatter: score against benchmark, with the least-squares line."""

from typing import Any

import pandas as pd

from coupling.figures.page.packing import short
from coupling.figures.page.section import Material, Section
from coupling.figures.scatter import complete_rows, fit_first_group
from coupling.figures.style import printable

MOST_LABEL = 100
"""Characters of an axis' name."""


def _data(material: Material) -> list[Any]:
    """The points, the ends of the line (none if it cannot be fitted), the line in words, and the names of the axes.

    Raises:
        CouplingError: if a column is missing, or no row is complete.
    """
    points = material.points
    if points is None:
        return [None]
    table = complete_rows(points.table)
    ends, words = _line(table)
    labels = [printable(label, MOST_LABEL) for label in (points.score_label, points.benchmark_label)]
    return [{"rows": _rows(table), "line": ends, "note": words, "labels": labels}]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    groups = table["group"].tolist() if "group" in table else [""] * len(table)
    columns = table["model"].tolist(), table["score"].tolist(), table["benchmark"].tolist(), groups
    return [
        {"model": printable(str(model), 60), "score": score, "benchmark": benchmark, "group": printable(str(group), 60)}
        for model, score, benchmark, group in zip(*columns, strict=True)
    ]


def _line(table: pd.DataFrame) -> tuple[list[list[float | None]], str]:
    rows, fit, words = fit_first_group(table)
    if fit is None:
        return [], words
    scores: Any = rows["score"]
    ends = map(float, (scores.min(), scores.max()))
    return [[short(score, 9), short(fit.intercept + fit.slope * score, 9)] for score in ends], words


SECTION = Section(
    name="scatter",
    title="Coupling and benchmark",
    how_to_read="One point per model: its coupling against its benchmark score, with the least-squares line.",
    data=_data,
    joint=True,
    needed=lambda material: material.points is not None,
    wide=True,
)
