"""The report's images: each as the model sees it, with the measured patches marked, and a heat map of coupling."""

import warnings
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling.choices import NORMS
from coupling.dataset import is_depth, off_diagonal
from coupling.figures.page.vega import FIRST_IF_MEAN, SCALE, SIDE, ChartWithData, Row, in_parts, is_chosen, parameters
from coupling.figures.selection import pair_names

FEWEST = 2
"""Measured patches from which on a heat map is drawn."""


def has_images(run: xr.Dataset) -> bool:
    """Whether a run measured images and kept pictures of them."""
    return "picture" in run and "patch_rows" in run and any(str(uri) for uri in run.picture.values)


def image_chart(run: xr.Dataset, prompts: Sequence[int]) -> ChartWithData | None:
    """The chosen image with its measured patches, beside a heat map of their coupling.

    Args:
        run: any run.
        prompts: numbers of the images; MEAN is left out.

    Returns:
        None where the run kept no pictures.
    """
    if not has_images(run):
        return None
    numbers = [number for number in prompts if number >= 0 and str(run.picture.values[number])]
    if not numbers:
        return None
    images = [_image_row(run, number) for number in numbers]
    heat = [row for number in numbers for row in _heat_rows(run, number)]
    rows, columns = images[0]["rows"], images[0]["columns"]
    size = {"width": SIDE, "height": round(SIDE * rows / columns)}
    chosen = is_chosen("T", prompt=FIRST_IF_MEAN)
    base = alt.Chart(alt.NamedData("images")).transform_filter(chosen)
    picture = base.mark_image(aspect=False, **size).encode(
        x=alt.value(size["width"] / 2), y=alt.value(size["height"] / 2), url="uri:N", description="alt:N"
    )
    marks = _patches(base.transform_flatten(["marked"]).transform_calculate(i="datum.marked")).mark_rect(
        aria=False, fillOpacity=0, stroke="#ff2d9b", strokeWidth=1 if len(images[0]["marked"]) > 32 else 2.5
    )
    left = alt.layer(picture, _position(marks), _note(base)).properties(**size)
    charts = [left]
    if heat:
        controls = "KPT" if is_depth(run) else "KPTB"
        charts.append(_heat_map(heat, is_chosen(controls, prompt=FIRST_IF_MEAN)).properties(**size))
    chart = alt.hconcat(*charts, spacing=50) if heat else left
    chart = chart.add_params(*parameters("T" if not heat else "KPT" if is_depth(run) else "KPTB"))
    description = f"An image as the model sees it, in {rows} x {columns} patches. The measured patches are outlined."
    if heat:
        description += " Beside it, the same patches are colored by their mean coupling."
    return ChartWithData(chart.properties(description=description), {"images": images, "heat": heat})


def measured_patches(run: xr.Dataset, number: int) -> list[int]:
    """The patches of an image that were measured, counted row by row from 0; special tokens are left out.

    Args:
        run: a run of images.
        number: the image's number.
    """
    n_tokens = int(run.n_tokens.values[number])
    n_patches = int(run.patch_rows.values[number] * run.patch_columns.values[number])
    if "measured_token" in run:
        tokens = [int(run.measured_token.values[number])]
    else:
        largest = run.singular_values.isel(prompt=number, rank=0)
        others = [dim for dim in largest.dims if dim != "token"]
        tokens = np.flatnonzero(np.isfinite(largest.values).any(largest.get_axis_num(others))).tolist()
    first = n_tokens - n_patches
    return [token - first for token in tokens if token >= first]


def patch_coupling(run: xr.Dataset, number: int) -> Float[xr.DataArray, "k norm ... token"]:
    """The mean coupling of each token of an image.

    For a run that compares tokens, over all other tokens, as row and as column, at each block; for a depth run, over
    all pairs of blocks.

    Args:
        run: a run that measured several tokens.
        number: the image's number.
    """
    values = 1 - off_diagonal(run, "mismatch").isel(prompt=number)
    with warnings.catch_warnings():  # the mean over nothing but NaN is NaN: a token that was not measured
        warnings.simplefilter("ignore", RuntimeWarning)
        if is_depth(run):
            return values.mean(["block", "other_block"])
        as_row = values.mean("other_token")
        as_column = values.mean("token").rename(other_token="token")
    return (as_row + as_column) / 2


def _image_row(run: xr.Dataset, number: int) -> Row:
    rows, columns = int(run.patch_rows.values[number]), int(run.patch_columns.values[number])
    marked = measured_patches(run, number)
    if len(marked) == 1:
        what = f"the measured patch is row {marked[0] // columns}, column {marked[0] % columns}"
    else:
        what = f"{len(marked)} patches were measured" if marked else "the class token was measured, and no patch"
    name = str(run.prompt_text.values[number])
    named = name if name.startswith("image") else f"image {name}"
    return {
        "t": number,
        "uri": str(run.picture.values[number]),
        "rows": rows,
        "columns": columns,
        "marked": marked,
        "note": what,
        "alt": f"{named}, {rows} x {columns} patches; {what}",
    }


def _heat_rows(run: xr.Dataset, number: int) -> list[Row]:
    """One row for each K, p and block, with the coupling of every patch."""
    if (is_depth(run) and "token" not in run.mismatch.dims) or len(measured_patches(run, number)) < FEWEST:
        return []
    n_tokens = int(run.n_tokens.values[number])
    rows, columns = int(run.patch_rows.values[number]), int(run.patch_columns.values[number])
    values = patch_coupling(run, number).isel(token=slice(n_tokens - rows * columns, n_tokens))
    names = [None] if is_depth(run) else pair_names(run)
    found = []
    for k in run.k.values.tolist():
        for p in NORMS:
            for index, name in enumerate(names):
                chosen = values.sel(k=k, norm=p)
                cells = chosen.values if name is None else chosen.isel(block=index).values
                row: Row = {"k": k, "p": p, "t": number, "rows": rows, "columns": columns, "c": in_parts(cells)}
                found.append(row if name is None else row | {"block": name})
    return found


def _patches(base: Any) -> Any:
    """The corners of the patch with number ``i``, as shares of the image's sides."""
    return base.transform_calculate(
        row="floor(datum.i / datum.columns)", column="datum.i % datum.columns"
    ).transform_calculate(
        x="datum.column / datum.columns",
        x2="(datum.column + 1) / datum.columns",
        y="datum.row / datum.rows",
        y2="(datum.row + 1) / datum.rows",
    )


def _position(chart: Any, **more: Any) -> Any:
    unit = alt.Scale(domain=[0, 1], nice=False)
    return chart.encode(
        x=alt.X("x:Q", scale=unit, axis=None),
        x2="x2:Q",
        y=alt.Y("y:Q", scale=alt.Scale(domain=[1, 0], nice=False), axis=None),
        y2="y2:Q",
        **more,
    )


def _heat_map(heat: list[Row], chosen: str) -> Any:
    base = alt.Chart(alt.NamedData("heat")).transform_filter(chosen).transform_flatten(["c"])
    cells = base.transform_window(n="row_number()").transform_calculate(i="datum.n - 1", coupling=f"datum.c / {SCALE}")
    cells = _patches(cells.transform_filter("datum.c != null")).transform_calculate(
        label="'row ' + datum.row + ', column ' + datum.column + ': coupling ' + format(datum.coupling, '.4f')"
    )
    legend = alt.Legend(gradientLength=SIDE - 40, format=".3~g")
    return _position(
        cells.mark_rect(),
        description="label:N",
        color=alt.Color(
            "coupling:Q",
            title="coupling",
            scale=alt.Scale(scheme="yellowgreenblue", zero=False, nice=False),
            legend=legend,
        ),
        tooltip=[
            alt.Tooltip("row:Q", title="row"),
            alt.Tooltip("column:Q", title="column"),
            alt.Tooltip("coupling:Q", format=".4f"),
        ],
    )


def _note(base: Any) -> Any:
    return base.mark_text(align="left", baseline="bottom", fontSize=12).encode(
        x=alt.value(0), y=alt.value(-6), text="note:N"
    )
