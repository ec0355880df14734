"""Spectrum: top singular values by depth, and how straight their reciprocals are."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, MaxNLocator

from coupling.errors import CouplingError
from coupling.figures.caption import caption
from coupling.figures.selection import (
    Range,
    Runs,
    as_runs,
    choose_prompt,
    choose_range,
    mean_prompt_by_prompt,
    run_names,
)
from coupling.figures.style import WIDTH, new_figure, plain_log_ticks, shades, styled


def singular_values_by_block(
    run: xr.Dataset, *, prompt: int | None = None
) -> tuple[Float[np.ndarray, "block rank"], list[int]]:
    """Singular values averaged over measured tokens and, unless one prompt is chosen, over prompts.

    Args:
        run: any run.
        prompt: one prompt; default: the mean over prompts.

    Returns:
        The singular values, and the blocks' numbers.

    Raises:
        CouplingError: if there is no such prompt.
    """
    values = run.singular_values
    if prompt is not None:
        values = values.isel(prompt=choose_prompt(run, prompt))
    table = mean_prompt_by_prompt(values, ("block", "rank")).transpose("block", "rank").values
    numbers, first = np.unique(run.block.values, return_index=True)  # several pairs may begin with one block
    return table[first], numbers.tolist()


def straightness(
    blocks: Float[np.ndarray, " block"], values: Float[np.ndarray, " block"]
) -> tuple[float, float, float]:
    """The slope, intercept and R² of the least-squares line through values by block; R² of a constant is NaN."""
    from scipy.stats import linregress  # takes half a second to import, as much as all pictures together

    fit = linregress(blocks, values)
    return float(fit.slope), float(fit.intercept), float(fit.rvalue**2)


def spectrum(runs: Runs, *, ranks: int = 5, prompt: int | None = None, blocks: Range | None = None) -> Figure:
    """The top singular values of each block's Jacobian by depth, and beside them their reciprocals with fitted lines.

    R² says how straight 1/σ is in depth; it is 1 where singular values fall as one over depth.

    Args:
        runs: one run or several; one row per run.
        ranks: how many singular values, from the largest.
        prompt: one prompt; default: the mean over prompts.
        blocks: (first, one past the last) that are drawn and fitted; default: all.

    Returns:
        The picture.

    Raises:
        CouplingError: if ``ranks`` is below 1, or a run has no such prompt or blocks.
    """
    chosen = as_runs(runs)
    if ranks < 1:
        raise CouplingError(f"`ranks` is {ranks}, but must be at least 1")
    with styled():
        figure = new_figure(0.5 * WIDTH * len(chosen) + 0.2)
        parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
        for part, run, name in zip(parts, chosen, run_names(chosen), strict=True):
            values, numbers = singular_values_by_block(run, prompt=prompt)
            kept = choose_range(blocks, numbers, "blocks", len(numbers))
            values = values[[numbers.index(number) for number in kept]]
            _draw(part, values[:, :ranks], kept, "token" in run.singular_values.dims)
            if len(chosen) > 1:
                part.suptitle(name, fontsize=10)
        if len(chosen) == 1:
            caption(figure, chosen, prompt)
    return figure


def _draw(part: SubFigure, values: np.ndarray, blocks: list[int], over_tokens: bool) -> None:
    left, right = part.subplots(1, 2)
    depth = np.array(blocks, dtype=float)
    fitted = len(blocks) > 2
    for rank, color in enumerate(shades(values.shape[1])):
        label, inverse = f"σ{_subscript(rank + 1)}", 1 / values[:, rank]
        if fitted:
            slope, intercept, r_squared = straightness(depth, inverse)
            right.plot(depth, slope * depth + intercept, "--", color=color, linewidth=1)
            label += f"  {r_squared:.2f}"
        left.plot(depth, values[:, rank], "o-", color=color, markersize=3, label=label)
        right.plot(depth, inverse, "o", color=color, markersize=3.5)
    left.set(ylabel="singular value σ" + (", mean over tokens" if over_tokens else ""), xlabel="block")
    right.set(ylabel="1 / σ", ylim=(0, None), xlabel="block")
    left.set_yscale("log")  # always, so that pictures of several numbers of prompts can be compared
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plain_log_ticks(left.yaxis)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlim(depth.min() - 0.4, depth.max() + 0.4)
    handles, labels = left.get_legend_handles_labels()
    title = "R² of line" if fitted else None
    part.legend(handles, labels, title=title, loc="outside right upper", title_fontsize=9)


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
