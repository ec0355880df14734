"""Trajectory: tokens' paths through the residual stream on two principal components."""

import numpy as np
import textalloc
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.linalg import eigh

from coupling.errors import CouplingError
from coupling.figures.selection import Runs, as_runs, choose_range, detail_place, run_names, token_texts
from coupling.figures.style import GRAY, WIDTH, new_figure, shades, styled


def principal_components(
    paths: Float[np.ndarray, "token layer feature"], count: int = 2
) -> tuple[Float[np.ndarray, "token layer component"], Float[np.ndarray, " component"]]:
    """Points on their first principal components, and the share of variance of each.

    The mean over all tokens and layers is taken out; a component's largest loading is positive.

    Raises:
        CouplingError: if there are fewer points or features than components.
    """
    points = paths.reshape(-1, paths.shape[-1]).astype(np.float64)
    if min(points.shape) < count:
        raise CouplingError(f"{points.shape[0]} points of {points.shape[1]} features have no {count} components")
    centered = points - points.mean(axis=0)
    wide = centered.shape[0] < centered.shape[1]
    gram = centered @ centered.T if wide else centered.T @ centered
    size = len(gram)
    variances, vectors = eigh(gram, subset_by_index=(size - count, size - 1))
    loadings = (centered.T @ vectors if wide else vectors)[:, ::-1]
    largest = np.argmax(np.abs(loadings), axis=0)
    signs = np.where(loadings[largest, np.arange(count)] < 0, -1.0, 1.0)
    scores = (vectors * np.sqrt(np.maximum(variances, 0)) if wide else centered @ vectors)[:, ::-1] * signs
    total = float(np.trace(gram))
    shares = np.maximum(variances[::-1], 0) / total if total > 0 else np.zeros(count)
    return scores.reshape(*paths.shape[:-1], count), shares


def paths_of(
    run: xr.Dataset, prompt: int | None, tokens: tuple[int, int] | None
) -> tuple[np.ndarray, list[int], list[str]]:
    """The residual stream of a prompt's tokens: (token, layer, feature), their numbers, and their texts.

    Raises:
        CouplingError: if the run kept no residual stream of it.
    """
    place = detail_place(run, "residual_stream", "trajectory", prompt)
    number = int(run.detailed_prompt.values[place])
    available = list(range(int(run.n_tokens.isel(prompt=number))))
    chosen = available if tokens is None else choose_range(tokens, available, "tokens")
    stream = run.residual_stream.isel(detailed_prompt=place, token=chosen)
    texts = token_texts(run, number)
    return stream.transpose("token", "layer", "feature").values, chosen, [texts[token] for token in chosen]


def trajectory(
    runs: Runs, *, prompt: int | None = None, tokens: tuple[int, int] | None = None
) -> Figure:  # fmt: skip
    """A line a token from what enters the first block (open mark) to what leaves the last (filled mark).

    The principal components are those of all the points drawn, each with its share of their variance.
    Leave out a first token that dwarfs the others with ``tokens=(1, n)``.

    Args:
        runs: one run or several, with their ``residual_stream``.
        prompt: which prompt; default: the first that kept its residual stream.
        tokens: (first, one past the last); default: all.

    Raises:
        CouplingError: if the run kept no residual streams or does not hold what was asked for.
    """
    chosen = as_runs(runs)
    found = [paths_of(run, prompt, tokens) for run in chosen]
    numbers = [int(run.detailed_prompt.values[detail_place(run, "residual_stream", "trajectory", prompt)])
               for run in chosen]  # fmt: skip
    with styled():
        figure = new_figure(0.82 * WIDTH) if len(chosen) == 1 else new_figure(3.6, 3.2 * len(chosen))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        placed = []
        for axes, (paths, _, texts), name in zip(all_axes, found, run_names(chosen), strict=True):
            points, shares = principal_components(paths)
            colors = shades(len(points))
            for path, color in zip(points, colors, strict=True):
                axes.plot(*path.T, color=color, linewidth=1, alpha=0.8)
                axes.plot(*path[1:-1].T, ".", color=color, markersize=2.5)
                axes.plot(*path[0], "o", markerfacecolor="white", markeredgecolor=color, markersize=4.5)
                axes.plot(*path[-1], "o", color=color, markersize=5.5)
            axes.set_xlabel(f"principal component 1 ({100 * shares[0]:.0f} %)")
            axes.set_ylabel(f"principal component 2 ({100 * shares[1]:.0f} %)")
            axes.margins(0.12)
            if len(chosen) > 1:
                axes.set_title(name)
            placed.append((axes, points, texts))
        figure.legend(
            [Line2D([], [], marker="o", color=GRAY, linestyle="", markerfacecolor=face) for face in ("white", GRAY)],
            ["enters the first block", "leaves the last block"], loc="outside upper center", ncols=2,
            title=f"prompt {numbers[0]}, tokens from dark (first) to light (last)", title_fontsize=9,
        )  # fmt: skip
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the labels below are placed in the layout that it made
        for axes, points, texts in placed:
            _name_tokens(axes, points, texts)
    return figure


def _name_tokens(axes: Axes, points: np.ndarray, texts: list[str]) -> None:
    """Texts beside the ends of the paths, where there is room for them."""
    ends = points[:, -1]
    axes.autoscale(False)  # a leader line must not move what was placed
    textalloc.allocate(
        axes, ends[:, 0], ends[:, 1], texts, x_scatter=points[..., 0].ravel(), y_scatter=points[..., 1].ravel(),
        textsize=8, draw_lines=True, linecolor=GRAY, linewidth=0.5, draw_all=False, max_distance=0.12,
        min_distance=0.012, margin=0.004, avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
    )  # fmt: skip
