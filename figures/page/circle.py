"""The report's circle: blocks on a circle, with chords between those whose coupling exceeds chance."""

from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from coupling.figures.circle import MANY_BLOCKS, clockwise
from coupling.figures.page.vega import (
    BY_ORDER,
    CHORD,
    SCALE,
    SIDE,
    ChartWithData,
    Row,
    is_chosen,
    note_above,
    parameters,
)

FIELDS = ("k", "p", "v", "t", "e", "strongest", "any")
"""The fields of a row that the circle needs."""


def circle_chart(run: xr.Dataset, rows: list[Row]) -> ChartWithData:
    """Blocks in order, clockwise from the top; a chord's width and opacity grow with the pair's excess.

    Args:
        run: a run of kind depth.
        rows: its rows (see ``pairs.pair_rows``).
    """
    blocks = [int(block) for block in run.block.values]
    x, y = np.round(clockwise(len(blocks)), 4).T.tolist()
    plane = {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-1.2, 1.2])),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-1.2, 1.2])),
    }
    chosen = alt.Chart(alt.NamedData("rows")).transform_filter(is_chosen("KPVT"))
    places = [
        {"block": block, "x": a, "y": b, "tx": 1.1 * a, "ty": 1.1 * b} for block, a, b in zip(blocks, x, y, strict=True)
    ]
    chart = alt.layer(_chords(chosen, blocks, x, y, plane), *_nodes(len(blocks), plane), _note(chosen))
    chart = chart.add_params(*parameters("KPVT")).properties(width=SIDE, height=SIDE)
    return ChartWithData(chart, {"rows": [{field: row[field] for field in FIELDS} for row in rows], "places": places})


def _chords(chosen: alt.Chart, blocks: list[int], x: list[float], y: list[float], plane: dict[str, Any]) -> alt.Chart:
    """One line per unordered pair above chance, the i-th of the lower triangle."""
    first, second = (index.tolist() for index in np.tril_indices(len(blocks), -1))
    pairs = (
        chosen.transform_flatten(["e"])
        .transform_window(i="row_number()")
        .transform_filter("datum.e > 0")
        .transform_calculate(
            first=f"{second}[datum.i - 1]", second=f"{first}[datum.i - 1]", share="datum.e / datum.strongest"
        )
        .transform_calculate(
            a=f"{blocks}[datum.first]",
            b=f"{blocks}[datum.second]",
            excess=f"datum.e / {SCALE}",
            x=f"{x}[datum.first]",
            y=f"{y}[datum.first]",
            x2=f"{x}[datum.second]",
            y2=f"{y}[datum.second]",
            width="0.3 + 4.2 * datum.share",
            opacity="0.06 + 0.84 * pow(datum.share, 1.5)",
        )
    )
    return pairs.mark_rule(strokeCap="round", color=CHORD).encode(
        x2="x2:Q",
        y2="y2:Q",
        strokeWidth=alt.StrokeWidth("width:Q", scale=None),
        opacity=alt.Opacity("opacity:Q", scale=None),
        tooltip=[
            alt.Tooltip("a:Q", title="block"),
            alt.Tooltip("b:Q", title="block"),
            alt.Tooltip("excess:Q", title="excess over chance", format=".1%"),
        ],
        **plane,
    )


def _nodes(count: int, plane: dict[str, Any]) -> tuple[alt.Chart, alt.Chart]:
    """The blocks' marks and their numbers, of which some are left out if there are many."""
    nodes = alt.Chart(alt.NamedData("places"))
    color = alt.Color("block:Q", scale=BY_ORDER, legend=None)
    marks = nodes.mark_circle(size=25 if count > MANY_BLOCKS else 70, opacity=1).encode(
        color=color, tooltip=["block:Q"], **plane
    )
    step = max(1, -(-count // MANY_BLOCKS))
    named = nodes.transform_filter(f"datum.block % {step} == 0").mark_text()
    return marks, named.encode(x=alt.X("tx:Q", axis=None), y=alt.Y("ty:Q", axis=None), text="block:Q")


def _note(chosen: alt.Chart) -> alt.Chart:
    text = (
        f"datum.any ? 'full width: excess over chance ' + format(datum.strongest / {SCALE}, '.1%') : "
        "'no pair couples above chance'"
    )
    return note_above(chosen.transform_calculate(note=text))
