"""The report's images: each as the model sees it, with the measured patches marked, and a heat map of coupling."""

import warnings
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling.choices import NORMS
from coupling.dataset import is_depth, off_diagonal
from coupling.figures.page.packing import packed
from coupling.figures.page.section import Material, Section, key
from coupling.figures.selection import pair_names
from coupling.untrusted import clean

FEWEST = 2
"""Measured patches from which on a heat map is drawn."""


def has_images(run: xr.Dataset) -> bool:
    """Whether a run measured images and kept pictures of them."""
    return "picture" in run and "patch_rows" in run and any(str(uri) for uri in run.picture.values)


def _data(material: Material) -> list[Any]:
    return [_of_run(material, run) if has_images(run) else None for run in material.runs]


def _of_run(material: Material, run: xr.Dataset) -> dict[str, Any] | None:
    """The images by number, and the coupling of their patches by K, p, image and block."""
    numbers = [number for number in range(material.extent.prompts) if str(run.picture.values[number])]
    if not numbers:
        return None
    heat: dict[str, Any] = {}
    for number in numbers:
        heat |= _heat(run, number)
    return {"images": {str(number): _image(run, number) for number in numbers}, "heat": heat}


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


def _image(run: xr.Dataset, number: int) -> dict[str, Any]:
    rows, columns = int(run.patch_rows.values[number]), int(run.patch_columns.values[number])
    marked = measured_patches(run, number)
    if len(marked) == 1:
        what = f"the measured patch is row {marked[0] // columns}, column {marked[0] % columns}"
    else:
        what = f"{len(marked)} patches were measured" if marked else "the class token was measured, and no patch"
    name = str(run.prompt_text.values[number])
    named = name if name.startswith("image") else f"image {name}"
    return {
        "uri": str(run.picture.values[number]),
        "rows": rows,
        "columns": columns,
        "marked": marked,
        "note": what,
        "alt": clean(f"{named}, {rows} x {columns} patches; {what}", 300),
    }


def _heat(run: xr.Dataset, number: int) -> dict[str, Any]:
    """For each K, p and block, the coupling of every patch."""
    if (is_depth(run) and "token" not in run.mismatch.dims) or len(measured_patches(run, number)) < FEWEST:
        return {}
    n_tokens = int(run.n_tokens.values[number])
    n_patches = int(run.patch_rows.values[number] * run.patch_columns.values[number])
    values = patch_coupling(run, number).isel(token=slice(n_tokens - n_patches, n_tokens))
    found = {}
    for (index, k), p in product(enumerate(run.k.values.tolist()), NORMS):
        chosen = values.sel(k=k, norm=p)
        if is_depth(run):
            found[key(index, p, number)] = packed(chosen.values)
        else:
            for place, name in enumerate(pair_names(run)):
                found[key(index, p, number, name)] = packed(chosen.isel(block=place).values)
    return found


SECTION = Section(
    name="image",
    title="Images",
    how_to_read=(
        "Each image as the model sees it, cut and scaled, with the measured patches outlined. Where several were "
        "measured, the heat map shows the coupling of each patch at the chosen K and p: its mean over all other tokens "
        "at the chosen block, or, in a run of kind depth, over all pairs of blocks."
    ),
    data=_data,
    if_missing="This run did not measure images, or kept no pictures of them.",
    panels=(("picture", "the image"), ("heat", "coupling of its patches")),
    needed=lambda material: any(map(has_images, material.runs)),
    wide=True,
)
