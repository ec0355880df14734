"""Heatmap: how far the coupling of every pair exceeds chance, or the coupling itself, with its chance level."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from coupling import metrics
from coupling.choices import variant_of
from coupling.dataset import is_depth
from coupling.errors import CouplingError
from coupling.figures.caption import caption
from coupling.figures.scale import limits
from coupling.figures.selection import (
    Runs,
    as_runs,
    choose_block,
    mean_over_pairs,
    overall_mean,
    pair_names,
    run_names,
    shared_k,
    token_texts,
    variant_suffix,
)
from coupling.figures.style import (
    MAGNITUDE,
    NOT_COMPARED,
    block_ticks,
    figure_of_squares,
    mark_on_colorbar,
    styled,
    wrapped,
)
from coupling.shares import K
from coupling.sinks import note, without_first


def heatmap(
    runs: Runs,
    *,
    k: K | None = None,
    norm: int = 2,
    signed: bool = False,
    swapped: bool = False,
    prompt: int | None = None,
    block: int | str | None = None,
    excess: bool = True,
    skip_first: int | None = None,
) -> Figure:
    """The excess over chance of every ordered pair, on one color scale for all runs; its bar marks chance.

    The scale does not follow a few pairs that dwarf all others: they get the darkest color, and the bar ends in a
    point (see ``coupling.figures.scale.limits``).

    Args:
        runs: one run or several.
        k: number of top singular vectors, or a share of the width such as "10%"; default: the largest that all runs
            have.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.
        prompt: one prompt; default: the mean over prompts.
        block: for runs that compare tokens: a block, or a pair such as "2:5"; default: the middle one.
        excess: draw the excess (see ``coupling.excess``); otherwise the coupling ``1 - m``.
        skip_first: for runs that compare tokens: how many first tokens are left out. Default: 1 where the first token's
            norm dwarfs the others' (an attention sink), otherwise 0.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run has no such k, norm, prompt or block, or ``skip_first`` leaves no two tokens.
    """
    chosen = as_runs(runs)
    if skip_first is not None and all(is_depth(run) for run in chosen):
        raise CouplingError("`skip_first` applies to runs that compare tokens, and these compare blocks")
    compared = [without_first(run, skip_first) for run in chosen]
    notes = dict.fromkeys(note(run, skip_first) for run in chosen if not is_depth(run))
    k = shared_k(chosen, k)
    variant = variant_of(signed=signed, swapped=swapped)
    tables, levels = [], []
    for run in compared:
        mismatch, chance = (
            mean_over_pairs(run, variant.variable(quantity), k=k, norm=norm, prompt=prompt, block=block)
            for quantity in ("mismatch", "chance")
        )
        tables.append(mismatch.copy(data=metrics.excess(mismatch.values, chance.values)) if excess else 1 - mismatch)
        levels.append(0.0 if excess else 1 - overall_mean(chance))
    low, high, extend = limits([table.values for table in tables], levels)
    with styled():
        figure = figure_of_squares(len(chosen))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        for axes, run, table, name in zip(all_axes, chosen, tables, run_names(chosen), strict=True):
            image = axes.imshow(table.values, cmap=MAGNITUDE, vmin=low, vmax=high)
            axes.set_facecolor(NOT_COMPARED)
            if is_depth(run):
                _label_blocks(axes, run)
            else:
                _label_tokens(axes, run, table.token.values.tolist(), prompt, block)
            if len(chosen) > 1:
                axes.set_title(wrapped(name))
        pad = 0.14 if len(chosen) == 1 else 0.08
        bar = figure.colorbar(image, ax=list(all_axes), shrink=0.85, pad=pad, extend=extend)
        what = "excess over chance" if excess else "coupling 1 − m"
        bar.set_label(f"{what} (K = {k}, p = {norm}{variant_suffix(variant)})")
        if excess:
            bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.04 else 1))
        bar.outline.set_visible(False)
        for index, level in enumerate(levels if len(set(np.round(levels, 4))) > 1 else levels[:1]):
            mark_on_colorbar(bar, level, "chance" if index == 0 else "")
        caption(figure, chosen, prompt, tuple(filter(None, notes)))
    return figure


def _label_blocks(axes: Axes, run: xr.Dataset) -> None:
    block_ticks(axes, run.block.values.tolist())
    axes.set(xlabel="block b (frames)", ylabel="block a (Jacobian)")


def _label_tokens(axes: Axes, run: xr.Dataset, tokens: list[int], prompt: int | None, block: int | str | None) -> None:
    """Tokens as text for a single prompt; positions for a mean over prompts."""
    block_name = pair_names(run)[choose_block(run, block)]
    if prompt is not None or run.sizes["prompt"] == 1:
        texts = token_texts(run, prompt or 0)
        what, most, rotation = "token", 16, 90
        labels = [texts[token] for token in tokens]
    else:
        what, most, rotation = "position", 8, 0
        labels = [str(token) for token in tokens]
    positions = list(range(0, len(tokens), max(1, -(-len(tokens) // most))))
    shown = [labels[position] for position in positions]
    axes.set_xticks(positions, shown, rotation=rotation)
    axes.set_yticks(positions, shown)
    axes.set(xlabel=f"{what} b (frames)", ylabel=f"{what} a (Jacobian), block {block_name}")
