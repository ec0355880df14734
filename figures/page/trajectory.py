"""The report's trajectory: tokens' paths on two principal components."""

import altair as alt
import xarray as xr

from coupling import sinks
from coupling.dataset import input_word
from coupling.errors import CouplingError
from coupling.figures.page.vega import (
    BY_ORDER,
    FIRST_IF_MEAN,
    ChartWithData,
    Row,
    is_chosen,
    note_above,
    parameters,
    short_numbers,
)
from coupling.figures.trajectory import paths_of, principal_components


def trajectory_chart(run: xr.Dataset, prompts: list[int]) -> ChartWithData | None:
    """One line per token through the residual stream; None if the run kept no residual streams.

    Args:
        run: any run.
        prompts: numbers of prompts; those without a residual stream are left out.
    """
    if "residual_stream" not in run:
        return None
    base = alt.Chart(alt.NamedData("rows")).transform_filter(is_chosen("T", prompt=FIRST_IF_MEAN))
    steps = base.transform_flatten(["x", "y", "layer"])
    plane = {
        "x": alt.X("x:Q", title="principal component 1", axis=alt.Axis(grid=False)),
        "y": alt.Y("y:Q", title="principal component 2", axis=alt.Axis(grid=False)),
    }
    color = alt.Color("token:Q", scale=BY_ORDER, legend=None)
    tooltip = [alt.Tooltip("text:N", title="token"), alt.Tooltip("token:Q", title="position"), "layer:Q"]
    lines = steps.mark_line(opacity=0.7, strokeWidth=1.2).encode(
        **plane, color=color, detail="token:Q", order="layer:Q", tooltip=tooltip
    )
    is_first, is_last = "datum.layer == 0", "datum.layer == datum.last"
    between = steps.transform_filter("datum.layer > 0 && datum.layer < datum.last").mark_circle(size=9, opacity=1)
    first = steps.transform_filter(is_first).mark_point(fill="white", size=45, opacity=1)
    last = steps.transform_filter(is_last).mark_circle(size=60, opacity=1)
    marks = [mark.encode(**plane, color=color, tooltip=tooltip) for mark in (between, first, last)]
    named = steps.transform_filter(is_last).mark_text(align="left", dx=6, fontSize=9)
    note = note_above(base.transform_filter("datum.first"))
    chart = alt.layer(lines, *marks, named.encode(**plane, text="text:N"), note).add_params(*parameters("T"))
    return ChartWithData(chart.properties(width=480, height=330), {"rows": _rows(run, prompts)})


def _rows(run: xr.Dataset, prompts: list[int]) -> list[Row]:
    """One row per prompt and token, with the token's path as arrays."""
    rows: list[Row] = []
    said = sinks.note(run)
    detailed = set(run.detailed_prompt.values.tolist())
    for prompt in (prompt for prompt in prompts if prompt in detailed):
        paths = paths_of(run, prompt)
        try:
            points, shares = principal_components(paths.stream)
        except CouplingError:  # too few points for two components
            continue
        left_out = f"; {said}" if said else ""
        note = f"{input_word(run)} {prompt}; {100 * shares[0]:.0f}% and {100 * shares[1]:.0f}% of variance{left_out}"
        rows += [
            {
                "t": prompt,
                "token": token,
                "first": token == paths.tokens[0],
                "text": text,
                "x": short_numbers(path[:, 0]),
                "y": short_numbers(path[:, 1]),
                "layer": list(range(len(path))),
                "last": len(path) - 1,
                "note": note,
            }
            for token, text, path in zip(paths.tokens, paths.texts, points, strict=True)
        ]
    return rows
