"""Circle: blocks on a circle, chords where their coupling exceeds chance."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from coupling.figures.selection import Runs, as_runs, mean_over_pairs, need_depth, run_names, shared_k, variant_name
from coupling.figures.style import PALETTE, WIDTH, new_figure, shades, styled

LEAST_SCALE = 0.05
"""Excess over chance that has the full width where no pair reaches it: noise stays thin."""


def excess_over_chance(
    run: xr.Dataset, *, k: int, norm: int = 2, signed: bool = False, swapped: bool = False, prompt: int | None = None
) -> Float[np.ndarray, "block block"]:
    """The share of chance's mismatch that is gone, ``(m_chance - m) / m_chance``, both directions averaged.

    Means over prompts are taken before the ratio. The diagonal is NaN.

    Raises:
        CouplingError: if the run does not hold what was asked for.
    """
    variant: dict[str, Any] = {"k": k, "norm": norm, "signed": signed, "prompt": prompt}
    mismatch = mean_over_pairs(run, "mismatch", swapped=swapped, **variant).values
    chance = mean_over_pairs(run, "chance", **variant).values
    return excess_of(mismatch, chance)


def excess_of(
    mismatch: Float[np.ndarray, "block block"], chance: Float[np.ndarray, "block block"]
) -> Float[np.ndarray, "block block"]:
    """``(m_chance - m) / m_chance``, the mean of both directions."""
    excess = (chance - mismatch) / chance
    return (excess + excess.T) / 2


def circle(
    runs: Runs, *, k: int | None = None, norm: int = 2, signed: bool = False, swapped: bool = False,
    prompt: int | None = None,
) -> Figure:  # fmt: skip
    """Blocks in order around a circle; a chord's width and opacity grow with the pair's excess over chance.

    Pairs at or below chance have no chord. The scale is the same for all runs, and never below ``LEAST_SCALE``.

    Args:
        runs: one run of kind depth or several.
        k: number of top singular vectors; default: the most that the run holds.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.
        prompt: one prompt; default: the mean over prompts.

    Raises:
        CouplingError: if the run compares tokens, or does not hold what was asked for.
    """
    chosen = as_runs(runs)
    for run in chosen:
        need_depth(run, "circle")
    k = shared_k(chosen, k)
    shares = [excess_over_chance(run, k=k, norm=norm, signed=signed, swapped=swapped, prompt=prompt) for run in chosen]
    most = max(float(np.nanmax(share)) for share in shares)
    strongest = max(most, LEAST_SCALE)
    with styled():
        figure = new_figure(0.9 * WIDTH) if len(chosen) == 1 else new_figure(3.7, 2.9 * len(chosen))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        for axes, run, share, name in zip(all_axes, chosen, shares, run_names(chosen), strict=True):
            _draw(axes, run.block.values.tolist(), share, strongest)
            if len(chosen) > 1:
                axes.set_title(name)
        if most > 0:
            samples = [strongest * part for part in (1 / 3, 2 / 3, 1)]
            figure.legend(
                [Line2D([], [], color=PALETTE[0], **_weight(value, strongest)) for value in samples],
                [f"{100 * value:.1f} %" for value in samples],
                title=f"excess over chance (K = {k}, p = {norm}{variant_name(signed, swapped)})",
                loc="outside lower center", ncols=3, title_fontsize=9,
            )  # fmt: skip
        else:
            figure.supxlabel("no pair of blocks couples above chance", fontsize=9)
    return figure


def _weight(excess: float, strongest: float) -> dict[str, Any]:
    part = min(1.0, excess / strongest)
    return {"linewidth": 0.3 + 4.2 * part, "alpha": 0.06 + 0.84 * part**1.5}


def _draw(axes: Axes, blocks: list[int], share: np.ndarray, strongest: float) -> None:
    count = len(blocks)
    turn = np.pi / 2 - 2 * np.pi * np.arange(count) / count  # clockwise from the top, as on a clock
    places = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    pairs = [(share[i, j], i, j) for i in range(count) for j in range(i) if share[i, j] > 0]
    for value, i, j in sorted(pairs):  # the strongest on top
        bend = 0.36 * (places[i] + places[j])  # a little to the middle, off the rim
        path = Path([places[i], bend, places[j]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        axes.add_patch(
            PathPatch(path, facecolor="none", edgecolor=PALETTE[0], capstyle="round", **_weight(value, strongest))
        )
    axes.scatter(places[:, 0], places[:, 1], s=44 if count <= 40 else 16, c=shades(count), zorder=3)
    step = max(1, -(-count // 40))
    for place, number in list(zip(places, blocks, strict=True))[::step]:
        axes.text(
            1.11 * place[0], 1.11 * place[1], str(number), ha="center", va="center", fontsize=9 if count <= 40 else 8
        )
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axes.axis("off")
