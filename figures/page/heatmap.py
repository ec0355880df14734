"""The report's heatmap: the coupling of every ordered pair."""

from typing import Any

import altair as alt
import xarray as xr

from coupling.dataset import input_word, is_depth
from coupling.figures.page.vega import FIRST_IF_MEAN, SCALE, SIDE, ChartWithData, Row, is_chosen, note_above, parameters


def heatmap_chart(run: xr.Dataset, rows: list[Row]) -> ChartWithData:
    """The coupling of every ordered pair of blocks, or of tokens at one block.

    Args:
        run: any run.
        rows: its rows (see ``pairs.pair_rows``).
    """
    depth = is_depth(run)
    controls = "KPVT" if depth else "KPVTB"
    is_shown = is_chosen(controls) if depth else is_chosen(controls, prompt=FIRST_IF_MEAN)
    base = alt.Chart(alt.NamedData("rows")).transform_filter(is_shown)
    scale = alt.Scale(scheme="yellowgreenblue", zero=False, nice=False)
    legend = alt.Legend(gradientLength=SIDE - 40, format=".3~g")
    color = alt.Color("coupling:Q", title="coupling", scale=scale, legend=legend)
    chart = alt.layer(_scale_ends(base, color), _tiles(_cells(base, run), depth, color), _note(base, run))
    chart = chart.add_params(*parameters(controls))
    background = alt.ViewBackground(fill="#88888844")  # visible where a Jacobian would be compared with itself
    return ChartWithData(chart.properties(width=SIDE, height=SIDE, view=background), {"rows": rows})


def _cells(base: alt.Chart, run: xr.Dataset) -> alt.Chart:
    """One datum per cell of the chosen matrix, with the names of its row and column."""
    if is_depth(run):
        blocks = [int(block) for block in run.block.values]
        names: dict[str, Any] = {"a": f"{blocks}[datum.row]", "b": f"{blocks}[datum.column]"}
    else:
        names = {"a": "datum.names[datum.row]", "b": "datum.names[datum.column]"}
    return (
        base.transform_calculate(side="sqrt(length(datum.c))")
        .transform_flatten(["c"])
        .transform_window(i="row_number()")
        .transform_calculate(row="floor((datum.i - 1) / datum.side)", column="(datum.i - 1) % datum.side")
        .transform_calculate(coupling=f"datum.c / {SCALE}", **names)
        .transform_filter("datum.c != null")
    )


def _tiles(cells: alt.Chart, depth: bool, color: alt.Color) -> alt.Chart:
    what = "block" if depth else "token"
    return cells.mark_rect().encode(
        x=alt.X(
            "b:O",
            title=f"{what} b (frames)",
            axis=alt.Axis(labelOverlap=True, labelAngle=0 if depth else -90, ticks=False),
            sort=alt.EncodingSortField("column", order="ascending"),
        ),
        y=alt.Y(
            "a:O",
            title=f"{what} a (Jacobian)",
            axis=alt.Axis(labelOverlap=True, ticks=False),
            sort=alt.EncodingSortField("row", order="ascending"),
        ),
        color=color,
        tooltip=[
            alt.Tooltip("a:O", title=f"{what} a"),
            alt.Tooltip("b:O", title=f"{what} b"),
            alt.Tooltip("coupling:Q", format=".4f"),
            alt.Tooltip("chance:Q", title="chance, mean", format=".4f"),
        ],
    )


def _scale_ends(base: alt.Chart, color: alt.Color) -> alt.Chart:
    """Two invisible cells at the ends of the color scale, which is the same for all runs."""
    ends = base.transform_flatten(["range"]).transform_calculate(coupling=f"datum.range / {SCALE}")
    return ends.mark_rect(opacity=0, width=0, height=0, tooltip=None).encode(color=color)


def _note(base: alt.Chart, run: xr.Dataset) -> alt.Chart:
    """The means of the chosen matrix."""
    text = "" if is_depth(run) else f"'{input_word(run)} ' + datum.t + ', block ' + datum.block + ': ' + "
    text += (
        "'mean ' + format(datum.mean, '.3f') + ', chance ' + format(datum.chance, '.3f') + ', excess ' + "
        "format(datum.excess, '.1%')"
    )
    return note_above(base.transform_calculate(note=text))
