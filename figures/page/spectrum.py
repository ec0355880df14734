"""The report's spectrum: singular values by block, and their reciprocals with the least-squares line."""

import altair as alt
import numpy as np
import xarray as xr

from coupling.figures.page.contents import MEAN
from coupling.figures.page.vega import BY_ORDER, ChartWithData, Row, is_chosen, parameters, short_numbers
from coupling.figures.spectrum import singular_values_by_block, straightness

SIZE = {"width": 195, "height": 200}


def spectrum_chart(run: xr.Dataset, prompts: list[int], ranks: int = 8) -> ChartWithData:
    """Singular values by block, and their reciprocals with the least-squares line.

    Args:
        run: any run.
        prompts: numbers of prompts, or ``MEAN``.
        ranks: how many singular values, from the largest; no more than the chosen K are shown.
    """
    base = (
        alt.Chart(alt.NamedData("rows"))
        .transform_filter(f"{is_chosen('T')} && datum.rank <= toNumber(K)")
        .transform_flatten(["s", "block"])
        .transform_calculate(inverse="1 / datum.s")
    )
    color = alt.Color("rank:O", scale=BY_ORDER, title="rank")
    tooltip = [
        alt.Tooltip("block:Q"),
        alt.Tooltip("rank:O"),
        alt.Tooltip("s:Q", title="σ", format=".4~g"),
        alt.Tooltip("inverse:Q", title="1 / σ", format=".4~g"),
        alt.Tooltip("r2:Q", title="R² of line"),
    ]
    blocks = sorted(set(run.block.values.tolist()))
    ticks = blocks[:: max(1, -(-len(blocks) // 8))]
    x = alt.X("block:Q", title="block", axis=alt.Axis(values=ticks, format="d", grid=False))
    log_axis = alt.Y(
        "s:Q", title="singular value σ", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(grid=False)
    )
    inverse_axis = alt.Y("inverse:Q", title="1 / σ")
    values = base.mark_line(point=True).encode(x=x, y=log_axis, color=color, tooltip=tooltip)
    points = base.mark_circle(opacity=1).encode(x=x, y=inverse_axis, color=color, tooltip=tooltip)
    fitted = base.transform_regression("block", "inverse", groupby=["rank"]).mark_line(strokeDash=[4, 3])
    lines = fitted.encode(x=x, y="inverse:Q", color=color)
    chart = alt.hconcat(values.properties(**SIZE), alt.layer(points, lines).properties(**SIZE))
    return ChartWithData(chart.add_params(*parameters("KT")), {"rows": _rows(run, prompts, ranks)})


def _rows(run: xr.Dataset, prompts: list[int], ranks: int) -> list[Row]:
    """One row per prompt and rank."""
    rows: list[Row] = []
    for prompt in prompts:
        values, blocks = singular_values_by_block(run, prompt=None if prompt == MEAN else prompt)
        depth = np.array(blocks, dtype=float)
        for rank in range(min(ranks, values.shape[1])):
            r_squared = straightness(depth, 1 / values[:, rank])[2] if len(blocks) > 2 else None
            rows.append(
                {
                    "t": prompt,
                    "rank": rank + 1,
                    "s": short_numbers(values[:, rank]),
                    "block": blocks,
                    "r2": None if r_squared is None else round(r_squared, 3),
                }
            )
    return rows
