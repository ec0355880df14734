"""Angles: principal angles between the top singular subspaces of blocks."""

from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from coupling.figures.caption import caption
from coupling.figures.selection import (
    Runs,
    as_runs,
    choose_prompt,
    mean_prompt_by_prompt,
    require_depth,
    run_names,
    shared_k,
)
from coupling.figures.style import (
    MAGNITUDE,
    NOT_COMPARED,
    WIDTH,
    block_ticks,
    mark_on_colorbar,
    new_figure,
    styled,
)
from coupling.shares import K, find_k

Side = Literal["left", "right"]
SIDES: dict[Side, str] = {"left": "left (U)", "right": "right (V)"}
"""The two singular subspaces of a block, with their titles."""


def subspace_angle(
    run: xr.Dataset, side: Side, *, k: K, prompt: int | None = None
) -> Float[np.ndarray, "block other_block"]:
    """The angle in degrees whose squared cosine is the mean of the K principal angles' squared cosines.

    The mean is also over prompts, unless one is chosen, and over measured tokens.

    Args:
        run: a run of kind depth.
        side: the left or the right singular subspaces.
        k: number of top singular vectors.
        prompt: one prompt; default: the mean over prompts.

    Returns:
        NaN on the diagonal.

    Raises:
        CouplingError: if the run has no such K or prompt.
    """
    angles = run[f"{side}_angle"].sel(k=find_k(run, k)).where(run.block != run.other_block)
    if prompt is not None:
        angles = angles.isel(prompt=choose_prompt(run, prompt))
    squared_cosines: xr.DataArray = xr.apply_ufunc(np.cos, angles) ** 2
    mean = mean_prompt_by_prompt(squared_cosines, ("block", "other_block"))
    return np.degrees(np.arccos(np.sqrt(mean.transpose("block", "other_block").values)))


def chance_angle(k: int, width: int) -> float:
    """``arccos(sqrt(K / d))`` in degrees: random K-dimensional subspaces have the mean squared cosine K / d."""
    return float(np.degrees(np.arccos(np.sqrt(k / width))))


def angles(runs: Runs, *, k: K | None = None, prompt: int | None = None) -> Figure:
    """How far the top K left and right singular subspaces of two blocks are turned from each other, in degrees.

    The angle does not depend on the basis inside the subspaces, so that near-equal singular values do not blur it.
    The line on the color bar is the chance level (see ``chance_angle``).

    Args:
        runs: one run of kind depth, or several; one row per run.
        k: number of top singular vectors, or a share of the width such as "10%"; default: the largest that all runs
            have.
        prompt: one prompt; default: the mean over prompts.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run compares tokens, or has no such K or prompt.
    """
    chosen = as_runs(runs)
    for run in chosen:
        require_depth(run, "angles")
    k = shared_k(chosen, k)
    tables = [[subspace_angle(run, side, k=k, prompt=prompt) for side in SIDES] for run in chosen]
    chance = [chance_angle(find_k(run, k), run.attrs["width"]) for run in chosen if "width" in run.attrs]
    low = min(float(np.nanmin(table)) for row in tables for table in row)
    high = max([float(np.nanmax(table)) for row in tables for table in row] + chance)
    with styled():
        figure = new_figure(0.43 * WIDTH * len(chosen) + 0.25)
        all_axes = figure.subplots(len(chosen), len(SIDES), squeeze=False)
        for axes_of_run, row, run, name in zip(all_axes, tables, chosen, run_names(chosen), strict=True):
            for axes, table, title in zip(axes_of_run, row, SIDES.values(), strict=True):
                image = _draw(axes, table, run.block.values.tolist(), title, low, high)
            axes_of_run[0].set_ylabel("block" if len(chosen) == 1 else f"{name}\nblock")
        bar = figure.colorbar(image, ax=all_axes, shrink=0.8, pad=0.13)
        bar.set_label(f"angle, degrees (K = {k})")
        bar.outline.set_visible(False)
        for level in sorted(set(np.round(chance, 6))):
            mark_on_colorbar(bar, level, "chance")
        caption(figure, chosen, prompt)
    return figure


def _draw(axes: Axes, table: np.ndarray, blocks: list[int], title: str, low: float, high: float) -> AxesImage:
    image = axes.imshow(table, cmap=MAGNITUDE.reversed(), vmin=low, vmax=high)
    axes.set_facecolor(NOT_COMPARED)
    block_ticks(axes, blocks, most=6)
    axes.set_xlabel("block")
    axes.set_title(title)
    return image
