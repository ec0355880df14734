"""Spectrum: top singular values by depth, and how straight their reciprocals are."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from scipy.stats import linregress

from coupling.figures.selection import Runs, as_runs, choose_prompt, choose_range, prompts_last, run_names
from coupling.figures.style import WIDTH, new_figure, plain_log_ticks, shades, styled


def singular_values_by_block(
    run: xr.Dataset, *, prompt: int | None = None
) -> tuple[Float[np.ndarray, "block rank"], list[int]]:
    """Singular values averaged over prompts (unless one is chosen) and measured tokens, and the blocks' numbers.

    Raises:
        CouplingError: if there is no such prompt.
    """
    values = run.singular_values
    if prompt is not None:
        values = values.isel(prompt=choose_prompt(run, prompt))
    values = prompts_last(values, ("block", "rank")).transpose("block", "rank").values
    numbers, first = np.unique(run.block.values, return_index=True)  # several pairs may begin with one block
    return values[first], numbers.tolist()


def straightness(
    blocks: Float[np.ndarray, " block"], values: Float[np.ndarray, " block"]
) -> tuple[float, float, float]:
    """The least-squares line through values by block: slope, intercept and R²; R² is NaN for a constant."""
    fit = linregress(blocks, values)
    return float(fit.slope), float(fit.intercept), float(fit.rvalue**2)


def spectrum(runs: Runs, *, ranks: int = 5, prompt: int | None = None, blocks: tuple[int, int] | None = None) -> Figure:
    """The top singular values of each block's Jacobian by depth; beside it their reciprocals with their lines.

    A row a run. R² says how straight 1/σ is in depth, which it is where singular values fall as one over depth.

    Args:
        runs: one run or several.
        ranks: how many singular values, from the largest.
        prompt: one prompt; default: the mean over prompts.
        blocks: (first, one past the last) that are drawn and fitted; default: all.

    Raises:
        CouplingError: if the run does not hold what was asked for.
    """
    chosen = as_runs(runs)
    with styled():
        figure = new_figure(0.5 * WIDTH * len(chosen) + 0.2)
        for part, run, name in zip(figure.subfigures(len(chosen), 1, squeeze=False)[:, 0], chosen, run_names(chosen),
                                   strict=True):  # fmt: skip
            values, numbers = singular_values_by_block(run, prompt=prompt)
            kept = choose_range(blocks, numbers, "blocks", len(numbers))
            values = values[[numbers.index(number) for number in kept]]
            _draw(part, values[:, :ranks], kept, "token" in run.singular_values.dims)
            if len(chosen) > 1:
                part.suptitle(name, fontsize=10)
    return figure


def _draw(part: SubFigure, values: np.ndarray, numbers: list[int], tokens: bool) -> None:
    left, right = part.subplots(1, 2)
    places = np.array(numbers, dtype=float)
    for rank, color in enumerate(shades(values.shape[1])):
        label, inverse = f"σ{_subscript(rank + 1)}", 1 / values[:, rank]
        if len(numbers) > 2:
            slope, intercept, share = straightness(places, inverse)
            right.plot(places, slope * places + intercept, "--", color=color, linewidth=1)
            label += f"  {share:.2f}"
        left.plot(places, values[:, rank], "o-", color=color, markersize=3, label=label)
        right.plot(places, inverse, "o", color=color, markersize=3.5)
    left.set(ylabel="singular value σ" + (", mean over tokens" if tokens else ""), xlabel="block")
    right.set(ylabel="1 / σ", ylim=(0, None), xlabel="block")
    if values.max() > 20 * np.median(values):
        left.set_yscale("log")
        plain_log_ticks(left.yaxis)
    else:
        left.set_ylim(0, None)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(places.min() - 0.4, places.max() + 0.4)
    part.legend(*left.get_legend_handles_labels(), title="R² of line" if len(numbers) > 2 else None,
                loc="outside right upper", title_fontsize=9)  # fmt: skip


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
