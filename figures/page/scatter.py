"""The report's scatter: score against benchmark, with the least-squares line."""

from typing import Any

import altair as alt
import pandas as pd

from coupling.figures.page.vega import GRAY, ChartWithData, Row, note_above
from coupling.figures.scatter import complete_rows, fit_first_group
from coupling.figures.style import PALETTE, printable

MOST_LABEL = 100
"""Characters of an axis' name."""
MOST_LABELS = 25
"""How many models are named beside their points; the names of more would overlap."""


def scatter_chart(table: pd.DataFrame, score_label: str, benchmark_label: str) -> ChartWithData:
    """Score against benchmark, with the least-squares line.

    Args:
        table: columns of ``coupling.figures.columns.SCATTER``.
        score_label: the name of the horizontal axis.
        benchmark_label: the name of the vertical axis.

    Raises:
        CouplingError: if a column is missing, or no row is complete.
    """
    table = complete_rows(table)
    score_label, benchmark_label = printable(score_label, MOST_LABEL), printable(benchmark_label, MOST_LABEL)
    base = alt.Chart(alt.NamedData("rows"))
    axes = {
        "x": alt.X("score:Q", title=score_label, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
        "y": alt.Y("benchmark:Q", title=benchmark_label, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
    }
    rows = _rows(table)
    has_groups = len({row["group"] for row in rows}) > 1
    color = (
        alt.Color("group:N", title=None, scale=alt.Scale(range=list(PALETTE))) if has_groups else alt.value(PALETTE[0])
    )
    tooltip = ["model:N", alt.Tooltip("score:Q", format=".4~g"), "benchmark:Q"]
    points = base.mark_circle(size=60, opacity=0.9).encode(**axes, color=color, tooltip=tooltip)
    names = base.mark_text(align="left", dx=6, fontSize=9).encode(**axes, text="model:N")
    line = alt.Chart(alt.NamedData("line")).mark_line(color=GRAY, strokeWidth=1.3).encode(**axes)
    named = len(rows) <= MOST_LABELS
    layers = [line, points, *([names] if named else []), note_above(alt.Chart(alt.NamedData("notes")))]
    ends, words = _line(table)
    note = words + ("" if named else "; names on hover")
    chart = alt.layer(*layers).properties(width=620, height=380)
    return ChartWithData(chart, {"rows": rows, "line": ends, "notes": [{"note": note}]})


def _rows(table: pd.DataFrame) -> list[Row]:
    columns = (
        table["model"],
        table["score"].tolist(),
        table["benchmark"].tolist(),
        table["group"] if "group" in table else [""] * len(table),
    )
    return [
        {"model": printable(str(model), 60), "score": score, "benchmark": benchmark, "group": printable(str(group), 60)}
        for model, score, benchmark, group in zip(*columns, strict=True)
    ]


def _line(table: pd.DataFrame) -> tuple[list[Row], str]:
    """The ends of the least-squares line (none if it cannot be fitted), and the line in words."""
    rows, fit, words = fit_first_group(table)
    if fit is None:
        return [], words
    scores: Any = rows["score"]
    return [
        {"score": score, "benchmark": fit.intercept + fit.slope * score}
        for score in map(float, (scores.min(), scores.max()))
    ], words
