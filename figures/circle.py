"""Circle: blocks on a circle, with chords between those whose coupling exceeds chance."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from coupling.choices import Variant, variant_of
from coupling.errors import CouplingError
from coupling.figures.caption import caption
from coupling.figures.selection import (
    Runs,
    as_runs,
    mean_over_pairs,
    require_depth,
    run_names,
    shared_k,
    variant_suffix,
)
from coupling.figures.style import GRAY, PALETTE, WIDTH, new_figure, shades, styled, wrapped
from coupling.metrics import excess
from coupling.shares import K

LEAST_SCALE = 0.05
"""The excess over chance that has the full width if no pair reaches it, so that noise is drawn with thin chords."""
TOP = 60
"""Pairs that have a chord by default; all of the 28 pairs of 8 blocks, a seventh of the 435 of 30."""
MANY_BLOCKS = 40
"""Beyond this number, blocks are drawn smaller and not all of them are numbered."""


def excess_over_chance(
    run: xr.Dataset,
    *,
    k: K,
    norm: int = 2,
    signed: bool = False,
    swapped: bool = False,
    prompt: int | None = None,
) -> Float[np.ndarray, "block block"]:
    """The excess (see ``coupling.excess``) of each pair of blocks, averaged over both directions.

    Means over prompts are taken before the ratio.

    Args:
        run: a run of kind depth.
        k: number of top singular vectors.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.
        prompt: one prompt; default: the mean over prompts.

    Returns:
        A symmetric matrix with NaN on the diagonal.

    Raises:
        CouplingError: if the run has no such k, norm or prompt.
    """
    variant = variant_of(signed=signed, swapped=swapped)
    mismatch = mean_over_pairs(run, variant.variable(), k=k, norm=norm, prompt=prompt).values
    chance = mean_over_pairs(run, variant.variable("chance"), k=k, norm=norm, prompt=prompt).values
    return symmetric_excess(mismatch, chance)


def symmetric_excess(
    mismatch: Float[np.ndarray, "block block"], chance: Float[np.ndarray, "block block"]
) -> Float[np.ndarray, "block block"]:
    """The excess of each unordered pair: the mean of the excess of a in b's frames and of b in a's."""
    directed = excess(mismatch, chance)
    return (directed + directed.T) / 2


def clockwise(count: int) -> Float[np.ndarray, "count 2"]:
    """Points on the unit circle, clockwise from the top as on a clock."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def circle(
    runs: Runs,
    *,
    k: K | None = None,
    norm: int = 2,
    signed: bool = False,
    swapped: bool = False,
    prompt: int | None = None,
    top: int = TOP,
) -> Figure:
    """Blocks in order around a circle; a chord's width and opacity grow with the pair's excess over chance.

    The strongest pairs have a chord, and the caption says how many pairs above chance were left out. Pairs at or below
    chance have none. The scale is the same for all runs, and never below ``LEAST_SCALE``.

    Args:
        runs: one run of kind depth, or several.
        k: number of top singular vectors, or a share of the width such as "10%"; default: the largest that all runs
            have.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.
        prompt: one prompt; default: the mean over prompts.
        top: how many pairs of each run have a chord, from the strongest.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run compares tokens, has no such k, norm or prompt, or `top` is below 1.
    """
    chosen = as_runs(runs)
    for run in chosen:
        require_depth(run, "circle")
    if top < 1:
        raise CouplingError(f"`top` is {top}, but must be at least 1")
    k = shared_k(chosen, k)
    tables = [excess_over_chance(run, k=k, norm=norm, signed=signed, swapped=swapped, prompt=prompt) for run in chosen]
    largest = max(float(np.nanmax(table)) for table in tables)
    full_width = max(largest, LEAST_SCALE)
    with styled():
        figure = new_figure(0.9 * WIDTH) if len(chosen) == 1 else new_figure(3.7, 2.9 * len(chosen))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        for axes, run, table, name in zip(all_axes, chosen, tables, run_names(chosen), strict=True):
            n_left_out = _draw(axes, run.block.values.tolist(), table, full_width, top)
            if n_left_out:
                note = f"the {top} strongest pairs; {n_left_out} more are above chance"
                axes.text(0, -1.34, note, ha="center", va="top", fontsize=8, color=GRAY)
            if len(chosen) > 1:
                axes.set_title(wrapped(name))
        if largest > 0:
            _explain_widths(figure, full_width, k, norm, variant_of(signed=signed, swapped=swapped))
        else:
            figure.supxlabel("no pair of blocks couples above chance", fontsize=9)
        caption(figure, chosen, prompt)
    return figure


def _explain_widths(figure: Figure, full_width: float, k: K, norm: int, variant: Variant) -> None:
    samples = [full_width * part for part in (1 / 3, 2 / 3, 1)]
    figure.legend(
        [Line2D([], [], color=PALETTE[0], **_chord_look(value, full_width)) for value in samples],
        [f"{100 * value:.1f}%" for value in samples],
        title=f"excess over chance (K = {k}, p = {norm}{variant_suffix(variant)})",
        loc="outside lower center",
        ncols=3,
        title_fontsize=9,
    )


def _chord_look(excess: float, full_width: float) -> dict[str, Any]:
    part = min(1.0, excess / full_width)
    return {"linewidth": 0.3 + 4.2 * part, "alpha": 0.06 + 0.84 * part**1.5}


def _draw(axes: Axes, blocks: list[int], table: np.ndarray, full_width: float, top: int) -> int:
    """Draw one run, and return the number of pairs above chance that have no chord."""
    points = clockwise(len(blocks))
    n_left_out = _draw_chords(axes, points, table, full_width, top)
    many = len(blocks) > MANY_BLOCKS
    axes.scatter(points[:, 0], points[:, 1], s=16 if many else 44, c=shades(len(blocks)), zorder=3)
    step = max(1, -(-len(blocks) // MANY_BLOCKS))
    for (x, y), number in list(zip(points, blocks, strict=True))[::step]:
        axes.text(1.11 * x, 1.11 * y, str(number), ha="center", va="center", fontsize=8 if many else 9)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axes.axis("off")
    return n_left_out


def _draw_chords(axes: Axes, points: np.ndarray, table: np.ndarray, full_width: float, top: int) -> int:
    pairs = sorted((table[i, j], i, j) for i in range(len(points)) for j in range(i) if table[i, j] > 0)
    for value, i, j in pairs[-top:]:  # the strongest on top
        bend = 0.36 * (points[i] + points[j])  # toward the middle, so that chords leave the rim
        path = Path([points[i], bend, points[j]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        axes.add_patch(
            PathPatch(path, facecolor="none", edgecolor=PALETTE[0], capstyle="round", **_chord_look(value, full_width))
        )
    return max(0, len(pairs) - top)
