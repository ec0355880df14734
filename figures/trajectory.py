"""Trajectory: tokens' paths through the residual stream, on two principal components."""

from dataclasses import dataclass

import numpy as np
import textalloc
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.linalg import eigh

from coupling.dataset import input_word
from coupling.errors import CouplingError
from coupling.figures.selection import (
    Runs,
    Tokens,
    as_runs,
    choose_range,
    detailed_index,
    detailed_prompt_number,
    run_names,
    token_texts,
)
from coupling.figures.style import GRAY, WIDTH, new_figure, shades, styled
from coupling.sinks import note, skipped

MOST_NAMED = 32
"""Tokens that are named: the 197 of an image would cover the paths."""


@dataclass(frozen=True)
class Paths:
    """The paths of a prompt's tokens.

    Attributes:
        stream: the residual stream.
        prompt: the prompt's number.
        tokens: the tokens' numbers.
        texts: the tokens as text.
    """

    stream: Float[np.ndarray, "token layer feature"]
    prompt: int
    tokens: list[int]
    texts: list[str]


def principal_components(
    paths: Float[np.ndarray, "token layer feature"], count: int = 2
) -> tuple[Float[np.ndarray, "token layer component"], Float[np.ndarray, " component"]]:
    """Points on their first principal components, and the share of the variance of each.

    The mean over all tokens and layers is subtracted. Each component's sign makes its largest loading positive.

    Args:
        paths: the points.
        count: number of components.

    Returns:
        The points' coordinates, and the shares of the variance, in [0, 1].

    Raises:
        CouplingError: if there are fewer points or features than components.
    """
    points = paths.reshape(-1, paths.shape[-1]).astype(np.float64)
    if min(points.shape) < count:
        raise CouplingError(f"{points.shape[0]} points of {points.shape[1]} features do not have {count} components")
    centered = points - points.mean(axis=0)
    # X Xᵀ and Xᵀ X have the same eigenvalues, which are the variances (times the number of points): take the smaller
    is_wide = centered.shape[0] < centered.shape[1]
    gram = centered @ centered.T if is_wide else centered.T @ centered
    size = len(gram)
    variances, vectors = eigh(gram, subset_by_index=(size - count, size - 1))  # ascending
    # X = U S Vᵀ: the loadings are V (up to length: Xᵀ U = V S), the coordinates are U S = X V
    loadings = (centered.T @ vectors if is_wide else vectors)[:, ::-1]
    coordinates = (vectors * np.sqrt(np.maximum(variances, 0)) if is_wide else centered @ vectors)[:, ::-1]
    largest = np.argmax(np.abs(loadings), axis=0)
    signs = np.where(loadings[largest, np.arange(count)] < 0, -1.0, 1.0)
    total = float(np.trace(gram))
    shares = np.maximum(variances[::-1], 0) / total if total > 0 else np.zeros(count)
    return (coordinates * signs).reshape(*paths.shape[:-1], count), shares


def paths_of(
    run: xr.Dataset, prompt: int | None = None, tokens: Tokens | None = None, skip_first: int | None = None
) -> Paths:
    """The paths of a prompt's tokens.

    Args:
        run: a run with its ``residual_stream``.
        prompt: which prompt; default: the first that kept its residual stream.
        tokens: one token, or (first, one past the last); default: all. Negative numbers count from the prompt's end,
            and "last" is its last token.
        skip_first: where no tokens are named, how many first tokens are left out. Default: 1 where the first token's
            norm dwarfs the others', otherwise 0.

    Raises:
        CouplingError: if the run kept no residual stream of the prompt, or the prompt has no such tokens.
    """
    index = detailed_index(run, "residual_stream", "trajectory", prompt)
    number = detailed_prompt_number(run, index)
    length = int(run.n_tokens.isel(prompt=number))
    first = skipped(run, skip_first) if tokens is None and length > 1 else 0
    available = list(range(min(first, length - 1), length)) if tokens is None else list(range(length))
    chosen = choose_range(tokens, available, "tokens", len(available), length=len(available))
    stream = run.residual_stream.isel(detailed_prompt=index, token=chosen).transpose("token", "layer", "feature")
    texts = token_texts(run, number)
    return Paths(stream.values, number, chosen, [texts[token] for token in chosen])


def trajectory(
    runs: Runs, *, prompt: int | None = None, tokens: Tokens | None = None, skip_first: int | None = None
) -> Figure:
    """One line per token, from what enters the first block (open mark) to what leaves the last (filled mark).

    The principal components are those of all the points drawn, each with its share of their variance.

    Args:
        runs: one run or several, with their ``residual_stream``.
        prompt: which prompt; default: the first that kept its residual stream.
        tokens: one token, or (first, one past the last); default: all. Negative numbers count from the prompt's end,
            and "last" is its last token.
        skip_first: where no tokens are named, how many first tokens are left out. Default: 1 where the first token's
            norm dwarfs the others' (an attention sink), which the caption then says; otherwise 0.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run kept no residual streams, or has no such prompt or tokens.
    """
    chosen = as_runs(runs)
    paths_of_runs = [paths_of(run, prompt, tokens, skip_first) for run in chosen]
    notes = dict.fromkeys(note(run, skip_first) for run in chosen if tokens is None)
    left_out = "".join(f"\n{text}" for text in notes if text)
    with styled():
        figure = new_figure(0.82 * WIDTH) if len(chosen) == 1 else new_figure(3.6, 3.2 * len(chosen))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        ends = []
        for axes, paths, name in zip(all_axes, paths_of_runs, run_names(chosen), strict=True):
            points, shares = principal_components(paths.stream)
            _draw(axes, points, shares)
            ends.append((axes, points, paths.texts))
            if len(chosen) > 1:
                axes.set_title(name)
        figure.legend(
            [Line2D([], [], marker="o", color=GRAY, linestyle="", markerfacecolor=face) for face in ("white", GRAY)],
            ["enters the first block", "leaves the last block"],
            loc="outside upper center",
            ncols=2,
            title=f"{input_word(*chosen)} {paths_of_runs[0].prompt}, tokens from dark (first) to light (last)"
            + left_out,
            title_fontsize=9,
        )
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the labels below are placed in the layout that it made
        for axes, points, texts in ends:
            _name_tokens(axes, points, texts)
    return figure


def _draw(axes: Axes, points: np.ndarray, shares: np.ndarray) -> None:
    for path, color in zip(points, shades(len(points)), strict=True):
        axes.plot(*path.T, color=color, linewidth=1, alpha=0.8)
        axes.plot(*path[1:-1].T, ".", color=color, markersize=2.5)
        axes.plot(*path[0], "o", markerfacecolor="white", markeredgecolor=color, markersize=4.5)
        axes.plot(*path[-1], "o", color=color, markersize=5.5)
    axes.set_xlabel(f"principal component 1 ({100 * shares[0]:.0f}%)")
    axes.set_ylabel(f"principal component 2 ({100 * shares[1]:.0f}%)")
    axes.margins(0.12)


def _name_tokens(axes: Axes, points: np.ndarray, texts: list[str]) -> None:
    """Texts beside the ends of the paths, where there is room for them; at most ``MOST_NAMED``, evenly spaced."""
    named = np.unique(np.linspace(0, len(texts) - 1, MOST_NAMED).round().astype(int))
    ends, texts = points[named, -1], [texts[index] for index in named]
    axes.autoscale(False)  # a leader line must not move what was placed
    textalloc.allocate(
        axes,
        ends[:, 0],
        ends[:, 1],
        texts,
        x_scatter=points[..., 0].ravel(),
        y_scatter=points[..., 1].ravel(),
        textsize=8,
        draw_lines=True,
        linecolor=GRAY,
        linewidth=0.5,
        draw_all=False,
        max_distance=0.12,
        min_distance=0.012,
        margin=0.004,
        avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
    )
