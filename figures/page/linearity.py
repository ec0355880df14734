"""The report's linearity: line-shape score and expodistance by token."""

from collections.abc import Sequence
from itertools import product

import altair as alt
import xarray as xr

from coupling.dataset import input_word
from coupling.figures.linearity import enough_prompts
from coupling.figures.page.contents import MEAN
from coupling.figures.page.vega import CHORD, ChartWithData, Row, is_chosen, parameters, short_numbers
from coupling.figures.selection import is_random, token_texts
from coupling.figures.style import PALETTE
from coupling.sinks import skipped

PANELS = {"shape": "line-shape score", "distance": "expodistance"}
"""Fields of a row, with the names of their axes."""


def linearity_chart(runs: Sequence[xr.Dataset], names: Sequence[str], prompts: list[int]) -> ChartWithData:
    """Line-shape score and expodistance by token, all runs in one chart, untrained models dashed.

    If the mean over prompts is chosen, this is the median over prompts at each position.

    Args:
        runs: the runs.
        names: a name for each.
        prompts: numbers of prompts, or ``MEAN``.
    """
    rows = [_row(run, name, prompt) for (run, name), prompt in product(zip(runs, names, strict=True), prompts)]
    base = alt.Chart(alt.NamedData("rows")).transform_filter(is_chosen("T"))
    base = base.transform_flatten(["shape", "distance", "text", "token"])
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("text:N", title="token"),
        alt.Tooltip("token:Q", title="position"),
        alt.Tooltip("shape:Q", title="line-shape score", format=".4~g"),
        alt.Tooltip("distance:Q", title="expodistance", format=".4~g"),
    ]
    x = alt.X("token:Q", title="token position", axis=alt.Axis(tickMinStep=1, format="d", grid=False))
    legend = alt.Legend(orient="top", labelLimit=400) if len(runs) > 1 else None
    color = alt.Color("run:N", title=None, sort=None, scale=alt.Scale(range=[CHORD, *PALETTE[1:-1]]), legend=legend)
    dash = alt.StrokeDash("random:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 3]]), legend=None)
    panels = [
        base.mark_line(point=True)
        .encode(
            x=x,
            y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False)),
            color=color,
            strokeDash=dash,
            tooltip=tooltip,
        )
        .properties(width=420, height=210)
        for field, title in PANELS.items()
    ]
    return ChartWithData(alt.hconcat(*panels).add_params(*parameters("T")), {"rows": rows})


def _row(run: xr.Dataset, name: str, prompt: int) -> Row:
    first = skipped(run)
    if prompt == MEAN:
        enough = enough_prompts(run.line_shape_score).values
        shape, distance = (
            values.median("prompt").values[enough] for values in (run.line_shape_score, run.expodistance)
        )
        texts = [f"(median over {input_word(run)}s)"] * len(shape)
    else:
        texts = token_texts(run, prompt)
        shape, distance = (
            values.isel(prompt=prompt).values[: len(texts)] for values in (run.line_shape_score, run.expodistance)
        )
    return {
        "run": name,
        "random": is_random(run),
        "t": prompt,
        "shape": short_numbers(shape[first:]),
        "distance": short_numbers(distance[first:]),
        "text": texts[first:],
        "token": list(range(first, len(texts))),
    }
