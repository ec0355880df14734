"""Angles: principal angles between the top singular subspaces of blocks."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from coupling.figures.selection import (
    Runs,
    as_runs,
    choose_k,
    choose_prompt,
    need_depth,
    prompts_last,
    run_names,
    shared_k,
)
from coupling.figures.style import MAGNITUDE, WIDTH, block_ticks, mark_on_colorbar, new_figure, styled

SIDES = ("left", "right")


def subspace_angle(
    run: xr.Dataset, side: str, *, k: int, prompt: int | None = None
) -> Float[np.ndarray, "block other_block"]:
    """The angle in degrees whose squared cosine is the mean of the K principal angles' squared cosines.

    The mean is also over prompts (unless one is chosen) and over measured tokens. NaN on the diagonal.

    Raises:
        CouplingError: if the run does not hold the K or the prompt.
    """
    angles = run[f"{side}_angle"].sel(k=choose_k(run, k)).where(run.block != run.other_block)
    if prompt is not None:
        angles = angles.isel(prompt=choose_prompt(run, prompt))
    squared: xr.DataArray = xr.apply_ufunc(np.cos, angles) ** 2
    mean = prompts_last(squared, ("block", "other_block"))
    return np.degrees(np.arccos(np.sqrt(mean.transpose("block", "other_block").values)))


def angles(runs: Runs, *, k: int | None = None, prompt: int | None = None) -> Figure:
    """How far the top K left and right singular subspaces of two blocks are turned from each other, in degrees.

    Free of the basis inside the subspaces, so that near-equal singular values do not blur it. Chance, on the bar, is
    arccos(sqrt(K / d)): the mean squared cosine between random subspaces of d dimensions is K / d.

    Args:
        runs: one run of kind depth or several, a row each.
        k: number of top singular vectors; default: the most that the run holds.
        prompt: one prompt; default: the mean over prompts.

    Raises:
        CouplingError: if the run compares tokens, or does not hold what was asked for.
    """
    chosen = as_runs(runs)
    for run in chosen:
        need_depth(run, "angles")
    k = shared_k(chosen, k)
    tables = [[subspace_angle(run, side, k=k, prompt=prompt) for side in SIDES] for run in chosen]
    levels = [np.degrees(np.arccos(np.sqrt(k / run.attrs["width"])))
              for run in chosen if "width" in run.attrs]  # fmt: skip
    low = min(float(np.nanmin(table)) for row in tables for table in row)
    high = max([float(np.nanmax(table)) for row in tables for table in row] + levels)
    with styled():
        figure = new_figure(0.43 * WIDTH * len(chosen) + 0.25)
        rows = figure.subplots(len(chosen), 2, squeeze=False)
        for axes_row, row, run, name in zip(rows, tables, chosen, run_names(chosen), strict=True):
            for axes, table, side in zip(axes_row, row, SIDES, strict=True):
                mappable = axes.imshow(table, cmap=MAGNITUDE.reversed(), vmin=low, vmax=high)
                axes.set_facecolor("#dddddd")
                block_ticks(axes, run.block.values.tolist(), most=6)
                axes.set_xlabel("block")
                axes.set_title(f"{side} (U)" if side == "left" else f"{side} (V)")
            axes_row[0].set_ylabel("block" if len(chosen) == 1 else f"{name}\nblock")
        bar = figure.colorbar(mappable, ax=rows, shrink=0.8, pad=0.09)
        bar.set_label(f"angle, degrees (K = {k})")
        bar.outline.set_visible(False)
        for level in sorted(set(np.round(levels, 6))):
            mark_on_colorbar(bar, level, "chance")
    return figure
