"""The report's projections: one Jacobian in the singular frames of another, for a chosen pair."""

from typing import Any

import numpy as np
import xarray as xr

from coupling.dataset import is_depth
from coupling.figures.page.packing import packed, short_numbers
from coupling.figures.page.pairs import measured_tokens
from coupling.figures.page.section import Material, Section
from coupling.figures.selection import pair_names

MOST_K = 20
"""Singular vectors of a projection that the page contains; of more, the first ones."""
MOST_BYTES = 900_000
"""What the projections of all runs may take."""


def _data(material: Material) -> list[Any]:
    """For each run, projections by prompt, as many prompts as fit."""
    return [_of_run(material, run, MOST_BYTES // len(material.runs)) for run in material.runs]


def _of_run(material: Material, run: xr.Dataset, budget: int) -> dict[str, Any] | None:
    """By prompt: the absolute values of the projections of all pairs (group, first, second, rank, other rank)."""
    if "projection" not in run:
        return None
    size = min(MOST_K, run.sizes["rank"])
    prompts: dict[str, Any] = {}
    for index, prompt in enumerate(run.detailed_prompt.values.tolist()):
        if prompt >= material.extent.prompts:
            continue
        values = np.abs(_tiles(material, run, index, prompt)[..., :size, :size])
        budget -= 4 * values.size // 3
        if budget < 0:
            break
        largest = np.nanmax(values, axis=(-2, -1), initial=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = values / largest[..., None, None]
        prompts[str(prompt)] = {"largest": short_numbers(largest), "shares": packed(shares, 8)}
    if not prompts:
        return None
    groups = [""] if is_depth(run) else pair_names(run)
    return {"prompts": prompts, "size": size, "of": run.sizes["rank"], "groups": groups}


def _tiles(material: Material, run: xr.Dataset, index: int, prompt: int) -> np.ndarray:
    projection = run.projection.isel(detailed_prompt=index)
    tokens = measured_tokens(run, prompt) if "token" in projection.dims else []
    if is_depth(run):
        if tokens:
            projection = projection.isel(token=tokens[-1])
        return projection.transpose("block", "other_block", "rank", "other_rank").values[None]
    kept = tokens[: material.extent.tokens]
    projection = projection.isel(token=kept, other_token=kept)
    return projection.transpose("block", "token", "other_token", "rank", "other_rank").values


SECTION = Section(
    name="grid",
    title="The chosen pair",
    how_to_read=(
        "The absolute values of one Jacobian in the singular frames of the other. A bright diagonal says that the two "
        "share their top singular vectors in order; without sharing, all entries are alike."
    ),
    data=_data,
    if_missing=(
        "This run kept no projections, or they would make this page too large; coupling analyze --detail all keeps "
        "them."
    ),
)
