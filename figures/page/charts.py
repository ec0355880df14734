"""Interactive charts of the report, as Vega-Lite specifications.

A chart holds the numbers of every choice (K, p, variant, prompt), a row each with its matrix as one array; the page's
own controls are its parameters, and the browser unfolds the chosen row. So a page of thousands of matrices stays small.
"""

from collections.abc import Sequence
from itertools import product

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from coupling.choices import VARIANTS
from coupling.dataset import off_diagonal
from coupling.errors import CouplingError
from coupling.figures.circle import LEAST_SCALE, excess_of
from coupling.figures.page.vega import (
    BY_ORDER,
    CHORD,
    FIRST_IF_MEAN,
    MEAN,
    MOST_LABELS,
    SCALE,
    SIDE,
    Drawn,
    Row,
    chosen,
    numbers,
    parameters,
    whole,
)
from coupling.figures.scatter import complete_rows, fit_of
from coupling.figures.selection import is_random, kind, pair_names, token_texts
from coupling.figures.spectrum import singular_values_by_block, straightness
from coupling.figures.style import PALETTE, printable
from coupling.figures.trajectory import paths_of, principal_components


def pair_rows(run: xr.Dataset, prompts: list[int], most_tokens: int) -> list[Row]:
    """A row each K, p, variant, prompt (and block, where tokens are compared): couplings of all pairs, and chance."""
    depth = kind(run) == "depth"
    rows = []
    for variant in VARIANTS:
        coupling = _all_pairs(run, variant.variable())
        level = _all_pairs(run, variant.variable("chance"))
        for prompt, (at_k, k), (at_p, p) in product(prompts, enumerate(run.k.values), enumerate(run.norm.values)):
            if prompt == MEAN and not depth:
                continue
            for place, block in enumerate(pair_names(run) if not depth else [""]):
                at = (slice(None) if prompt == MEAN else slice(prompt, prompt + 1), at_k, at_p, place)
                values, chance = coupling[at].mean(axis=0), level[at].mean(axis=0)
                row: Row = {"k": int(k), "p": int(p), "v": variant.label, "t": prompt}
                if not depth:
                    measured = np.flatnonzero(np.isfinite(values).any(axis=1))[:most_tokens]
                    values, chance = values[np.ix_(measured, measured)], chance[np.ix_(measured, measured)]
                    texts = token_texts(run, prompt)
                    row |= {"block": block, "names": [f"{token} {texts[token]}" for token in measured]}
                row["c"] = whole(values)
                row["chance"], row["mean"] = round(float(np.nanmean(chance)), 5), round(float(np.nanmean(values)), 5)
                row["e"] = _excess(values, chance) if depth else []
                rows.append(row)
    return rows


def _all_pairs(run: xr.Dataset, variable: str) -> np.ndarray:
    """Coupling (prompt, k, norm, group, first, second); blocks are groups where tokens are compared, else there is one.

    A Jacobian's comparison with itself is NaN.
    """
    values = 1 - off_diagonal(run, variable)
    if kind(run) != "depth":
        return values.transpose("prompt", "k", "norm", "block", "token", "other_token").values
    if "token" in values.dims:
        values = values.mean("token")
    return values.transpose("prompt", "k", "norm", "block", "other_block").values[:, :, :, None]


def _excess(coupling: np.ndarray, chance: np.ndarray) -> list[int | None]:
    """Excess over chance of each unordered pair (see ``excess_of``), in whole parts."""
    share = excess_of(1 - coupling, 1 - chance)
    return whole(share[np.tril_indices(len(share), -1)])


def join_scales(tables: list[list[Row]]) -> None:
    """Give equal choices of several runs equal color scales and chord widths, in place."""
    together: dict[tuple, list[Row]] = {}
    for row in [row for table in tables for row in table]:
        together.setdefault((row["k"], row["p"], row["v"], row["t"]), []).append(row)
    for rows in together.values():
        values = [value for row in rows for value in row["c"] if value is not None]
        shares = [value for row in rows for value in row["e"] if value is not None]
        for row in rows:
            row["range"] = [min(values, default=0), max(values, default=1)]
            row["strongest"] = max([*shares, round(LEAST_SCALE * SCALE)])
            row["any"] = any(value is not None and value > 0 for value in row["e"])


def heatmap_chart(run: xr.Dataset, rows: list[Row]) -> Drawn:
    """Coupling of every ordered pair."""
    depth = kind(run) == "depth"
    filters = chosen("K", "P", "V", "T") if depth else chosen("K", "P", "V", "T", "B", prompt=FIRST_IF_MEAN)
    base = alt.Chart(alt.NamedData("rows")).transform_filter(filters)
    cells = base.transform_calculate(side="sqrt(length(datum.c))").transform_flatten(["c"])
    cells = cells.transform_window(i="row_number()").transform_calculate(
        row="floor((datum.i - 1) / datum.side)", column="(datum.i - 1) % datum.side"
    )
    if depth:
        first = list(map(int, run.block.values))
        names = {"a": f"{first}[datum.row]", "b": f"{first}[datum.column]"}
    else:
        names = {"a": "datum.names[datum.row]", "b": "datum.names[datum.column]"}
    cells = cells.transform_calculate(coupling=f"datum.c / {SCALE}", **names)
    cells = cells.transform_filter("datum.c != null")
    what = "block" if depth else "token"
    axis = alt.Axis(labelOverlap=True, labelAngle=0 if depth else -90, ticks=False)
    shading = alt.Scale(scheme="yellowgreenblue", zero=False, nice=False)
    color = alt.Color("coupling:Q", title="coupling", scale=shading,
                       legend=alt.Legend(gradientLength=SIDE - 40, format=".3~g"))  # fmt: skip
    tiles = cells.mark_rect().encode(
        x=alt.X("b:O", title=f"{what} b (frames)", axis=axis, sort=alt.EncodingSortField("column", order="ascending")),
        y=alt.Y("a:O", title=f"{what} a (Jacobian)", axis=alt.Axis(labelOverlap=True, ticks=False),
                sort=alt.EncodingSortField("row", order="ascending")),
        color=color,
        tooltip=[
            alt.Tooltip("a:O", title=f"{what} a"), alt.Tooltip("b:O", title=f"{what} b"),
            alt.Tooltip("coupling:Q", format=".4f"), alt.Tooltip("chance:Q", title="chance, mean", format=".4f"),
        ],
    )  # fmt: skip
    ends = base.transform_flatten(["range"]).transform_calculate(coupling=f"datum.range / {SCALE}")
    ends = ends.mark_rect(opacity=0, width=0, height=0, tooltip=None).encode(color=color)
    chart = alt.layer(ends, tiles, _note(base, depth)).add_params(*parameters("KPVT" if depth else "KPVTB"))
    background = alt.ViewBackground(fill="#88888844")  # seen where a Jacobian would be compared with itself
    return Drawn(chart.properties(width=SIDE, height=SIDE, view=background), {"rows": rows})


def _note(base: alt.Chart, depth: bool) -> alt.Chart:
    """The chosen matrix in numbers, above the chart."""
    text = "" if depth else "'prompt ' + datum.t + ', block ' + datum.block + ': ' + "
    text += (
        "'mean ' + format(datum.mean, '.3f') + ', chance ' + format(datum.chance, '.3f') + ', excess ' + "
        "format((datum.mean - datum.chance) / (1 - datum.chance), '.1%')"
    )
    return base.transform_calculate(note=text).mark_text(align="left", baseline="bottom", fontSize=12).encode(
        x=alt.value(0), y=alt.value(-6), text="note:N"
    )  # fmt: skip


def circle_chart(run: xr.Dataset, rows: list[Row]) -> Drawn:
    """Blocks on a circle, chords where their coupling exceeds chance."""
    blocks = [int(block) for block in run.block.values]
    turn = np.pi / 2 - 2 * np.pi * np.arange(len(blocks)) / len(blocks)
    x, y = np.round(np.cos(turn), 4).tolist(), np.round(np.sin(turn), 4).tolist()
    first, second = (index.tolist() for index in np.tril_indices(len(blocks), -1))
    plane = {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-1.2, 1.2])),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-1.2, 1.2])),
    }
    chords = (
        alt.Chart(alt.NamedData("rows"))
        .transform_filter(chosen("K", "P", "V", "T"))
        .transform_flatten(["e"])
        .transform_window(i="row_number()")
        .transform_filter("datum.e > 0")
        .transform_calculate(
            first=f"{second}[datum.i - 1]", second=f"{first}[datum.i - 1]", share="datum.e / datum.strongest",
        )
        .transform_calculate(
            a=f"{blocks}[datum.first]", b=f"{blocks}[datum.second]", excess=f"datum.e / {SCALE}",
            x=f"{x}[datum.first]", y=f"{y}[datum.first]", x2=f"{x}[datum.second]", y2=f"{y}[datum.second]",
            width="0.3 + 4.2 * datum.share", opacity="0.06 + 0.84 * pow(datum.share, 1.5)",
        )
        .mark_rule(strokeCap="round", color=CHORD)
        .encode(
            x2="x2:Q", y2="y2:Q", strokeWidth=alt.StrokeWidth("width:Q", scale=None),
            opacity=alt.Opacity("opacity:Q", scale=None),
            tooltip=[alt.Tooltip("a:Q", title="block"), alt.Tooltip("b:Q", title="block"),
                     alt.Tooltip("excess:Q", title="excess over chance", format=".1%")],
            **plane,
        )
    )  # fmt: skip
    places = [
        {"block": block, "x": a, "y": b, "tx": 1.1 * a, "ty": 1.1 * b} for block, a, b in zip(blocks, x, y, strict=True)
    ]  # fmt: skip
    nodes = alt.Chart(alt.NamedData("places"))
    marks = nodes.mark_circle(size=70 if len(blocks) <= 40 else 25, opacity=1).encode(
        color=alt.Color("block:Q", scale=BY_ORDER, legend=None), tooltip=["block:Q"], **plane
    )
    step = max(1, -(-len(blocks) // 40))
    names = nodes.transform_filter(f"datum.block % {step} == 0").mark_text().encode(
        x=alt.X("tx:Q", axis=None), y=alt.Y("ty:Q", axis=None), text="block:Q"
    )  # fmt: skip
    note = (
        alt.Chart(alt.NamedData("rows"))
        .transform_filter(chosen("K", "P", "V", "T"))
        .transform_calculate(
            note=f"datum.any ? 'full width: excess over chance ' + format(datum.strongest / {SCALE}, '.1%') : "
            "'no pair couples above chance'"
        )
        .mark_text(align="left", baseline="bottom", fontSize=12)
        .encode(x=alt.value(0), y=alt.value(-6), text="note:N")
    )
    chart = alt.layer(chords, marks, names, note).add_params(*parameters("KPVT"))
    kept = [{key: row[key] for key in ("k", "p", "v", "t", "e", "strongest", "any")} for row in rows]
    return Drawn(chart.properties(width=SIDE, height=SIDE), {"rows": kept, "places": places})


def spectrum_chart(run: xr.Dataset, prompts: list[int], ranks: int = 8) -> Drawn:
    """Singular values by block, and their reciprocals with the least-squares line."""
    rows: list[Row] = []
    for prompt in prompts:
        values, blocks = singular_values_by_block(run, prompt=None if prompt == MEAN else prompt)
        for rank in range(min(ranks, values.shape[1])):
            share = straightness(np.array(blocks, dtype=float), 1 / values[:, rank])[2] if len(blocks) > 2 else None
            rows.append({"t": prompt, "rank": rank + 1, "s": numbers(values[:, rank]), "block": blocks,
                         "r2": None if share is None else round(share, 3)})  # fmt: skip
    base = (
        alt.Chart(alt.NamedData("rows"))
        .transform_filter(f"{chosen('T')} && datum.rank <= toNumber(K)")
        .transform_flatten(["s", "block"])
        .transform_calculate(inverse="1 / datum.s")
    )
    color = alt.Color("rank:O", scale=BY_ORDER, title="rank")
    tips = [
        alt.Tooltip("block:Q"),
        alt.Tooltip("rank:O"),
        alt.Tooltip("s:Q", title="σ", format=".4~g"),
        alt.Tooltip("inverse:Q", title="1 / σ", format=".4~g"),
        alt.Tooltip("r2:Q", title="R² of line"),
    ]
    held = sorted(set(run.block.values.tolist()))
    ticks = held[:: max(1, -(-len(held) // 8))]
    across = alt.X("block:Q", title="block", axis=alt.Axis(values=ticks, format="d", grid=False))
    values_chart = base.mark_line(point=True).encode(
        x=across,
        y=alt.Y("s:Q", title="singular value σ", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(grid=False)),
        color=color,
        tooltip=tips,
    )
    points = base.mark_circle(opacity=1).encode(
        x=across, y=alt.Y("inverse:Q", title="1 / σ"), color=color, tooltip=tips
    )
    lines = base.transform_regression("block", "inverse", groupby=["rank"]).mark_line(strokeDash=[4, 3]).encode(
        x=across, y="inverse:Q", color=color
    )  # fmt: skip
    size = {"width": 195, "height": 200}
    chart = alt.hconcat(values_chart.properties(**size), alt.layer(points, lines).properties(**size))
    return Drawn(chart.add_params(*parameters("KT")), {"rows": rows})


def trajectory_chart(run: xr.Dataset, prompts: list[int]) -> Drawn | None:
    """Tokens' paths on two principal components; None where the run kept no residual streams."""
    if "residual_stream" not in run:
        return None
    rows: list[Row] = []
    held = set(run.detailed_prompt.values.tolist())
    for prompt in (prompt for prompt in prompts if prompt in held):
        paths, tokens, texts = paths_of(run, prompt, None)
        try:
            points, shares = principal_components(paths)
        except CouplingError:
            continue
        note = f"prompt {prompt}; {100 * shares[0]:.0f} % and {100 * shares[1]:.0f} % of variance"
        rows += [
            {"t": prompt, "token": token, "text": text, "x": numbers(path[:, 0]), "y": numbers(path[:, 1]),
             "layer": list(range(len(path))), "last": len(path) - 1, "note": note}
            for token, text, path in zip(tokens, texts, points, strict=True)
        ]  # fmt: skip
    base = alt.Chart(alt.NamedData("rows")).transform_filter(chosen("T", prompt=FIRST_IF_MEAN))
    steps = base.transform_flatten(["x", "y", "layer"])
    plane = {
        "x": alt.X("x:Q", title="principal component 1", axis=alt.Axis(grid=False)),
        "y": alt.Y("y:Q", title="principal component 2", axis=alt.Axis(grid=False)),
    }
    color = alt.Color("token:Q", scale=BY_ORDER, legend=None)
    tips = [alt.Tooltip("text:N", title="token"), alt.Tooltip("token:Q", title="position"), "layer:Q"]
    lines = steps.mark_line(opacity=0.7, strokeWidth=1.2).encode(
        **plane, color=color, detail="token:Q", order="layer:Q", tooltip=tips
    )
    between = steps.transform_filter("datum.layer > 0 && datum.layer < datum.last").mark_circle(size=9, opacity=1)
    first = steps.transform_filter("datum.layer == 0").mark_point(fill="white", size=45, opacity=1)
    last = steps.transform_filter("datum.layer == datum.last").mark_circle(size=60, opacity=1)
    marks = [part.encode(**plane, color=color, tooltip=tips) for part in (between, first, last)]
    names = steps.transform_filter("datum.layer == datum.last").mark_text(align="left", dx=6, fontSize=9).encode(
        **plane, text="text:N"
    )  # fmt: skip
    note = base.transform_filter("datum.token == 0").mark_text(align="left", baseline="bottom", fontSize=12).encode(
        x=alt.value(0), y=alt.value(-6), text="note:N"
    )  # fmt: skip
    chart = alt.layer(lines, *marks, names, note).add_params(*parameters("T"))
    return Drawn(chart.properties(width=480, height=330), {"rows": rows})


def linearity_chart(runs: Sequence[xr.Dataset], names: Sequence[str], prompts: list[int]) -> Drawn:
    """Line-shape score and expodistance by token, all runs in one chart, untrained ones dashed.

    The median over prompts by position where the mean is chosen.
    """
    rows: list[Row] = []
    for (run, name), prompt in product(zip(runs, names, strict=True), prompts):
        if prompt == MEAN:
            held = (run.line_shape_score.notnull().sum("prompt") >= min(2, run.sizes["prompt"])).values
            shape = run.line_shape_score.median("prompt").values[held]
            distance = run.expodistance.median("prompt").values[held]
            texts = ["(median over prompts)"] * len(shape)
        else:
            texts = token_texts(run, prompt)
            shape = run.line_shape_score.isel(prompt=prompt).values[: len(texts)]
            distance = run.expodistance.isel(prompt=prompt).values[: len(texts)]
        rows.append({"run": name, "random": is_random(run), "t": prompt, "shape": numbers(shape),
                     "distance": numbers(distance), "text": texts, "token": list(range(len(texts)))})  # fmt: skip
    base = alt.Chart(alt.NamedData("rows")).transform_filter(chosen("T"))
    base = base.transform_flatten(["shape", "distance", "text", "token"])
    tips = [alt.Tooltip("run:N"), alt.Tooltip("text:N", title="token"), alt.Tooltip("token:Q", title="position"),
            alt.Tooltip("shape:Q", title="line-shape score", format=".4~g"),
            alt.Tooltip("distance:Q", title="expodistance", format=".4~g")]  # fmt: skip
    across = alt.X("token:Q", title="token position", axis=alt.Axis(tickMinStep=1, format="d", grid=False))
    color = alt.Color("run:N", title=None, sort=None, scale=alt.Scale(range=[CHORD, *PALETTE[1:-1]]),
                       legend=alt.Legend(orient="top", labelLimit=400) if len(runs) > 1 else None)  # fmt: skip
    dash = alt.StrokeDash("random:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 3]]), legend=None)
    parts = [
        base.mark_line(point=True).encode(
            x=across, y=alt.Y(f"{name}:Q", title=title, scale=alt.Scale(zero=False)), color=color, strokeDash=dash,
            tooltip=tips,
        ).properties(width=420, height=210)
        for name, title in (("shape", "line-shape score"), ("distance", "expodistance"))
    ]  # fmt: skip
    return Drawn(alt.hconcat(*parts).add_params(*parameters("T")), {"rows": rows})


def scatter_chart(table: pd.DataFrame, score_label: str, benchmark_label: str) -> Drawn:
    """Score against benchmark with the least-squares line."""
    table = complete_rows(table)
    rows = [
        {"model": printable(model, 60), "score": score, "benchmark": benchmark, "group": group}
        for model, score, benchmark, group in zip(
            table["model"], table["score"].tolist(), table["benchmark"].tolist(),
            table["group"] if "group" in table else [""] * len(table), strict=True,
        )
    ]  # fmt: skip
    base = alt.Chart(alt.NamedData("rows"))
    axes = {
        "x": alt.X("score:Q", title=score_label, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
        "y": alt.Y("benchmark:Q", title=benchmark_label, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
    }
    several = len({row["group"] for row in rows}) > 1
    color = alt.Color("group:N", title=None, scale=alt.Scale(range=list(PALETTE))) if several else alt.value(PALETTE[0])
    points = base.mark_circle(size=60, opacity=0.9).encode(
        **axes, color=color, tooltip=["model:N", alt.Tooltip("score:Q", format=".4~g"), "benchmark:Q"]
    )
    names = base.mark_text(align="left", dx=6, fontSize=9).encode(**axes, text="model:N")
    fitted, fit, note = fit_of(table)
    ends = [] if fit is None else [
        {"score": float(x), "benchmark": fit[0] * float(x) + fit[1]}
        for x in (fitted["score"].min(), fitted["score"].max())
    ]  # fmt: skip
    line = alt.Chart(alt.NamedData("line")).mark_line(color="#888888", strokeWidth=1.3).encode(**axes)
    note += "" if len(rows) <= MOST_LABELS else "; names on hover"
    said = alt.Chart(alt.NamedData("notes")).mark_text(align="left", baseline="bottom", fontSize=12).encode(
        x=alt.value(0), y=alt.value(-6), text="note:N"
    )  # fmt: skip
    shown = [line, points, *([names] if len(rows) <= MOST_LABELS else []), said]
    chart = alt.layer(*shown).properties(width=620, height=380)
    return Drawn(chart, {"rows": rows, "line": ends, "notes": [{"note": note}]})
