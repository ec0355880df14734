"""Grid: the co-diagonalization matrices abs(U_b^T J_a V_b), pair by pair."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coupling.errors import CouplingError
from coupling.figures.selection import (
    Runs,
    as_runs,
    choose_block,
    choose_range,
    detail_place,
    kind,
    pair_names,
    run_names,
    shared_k,
    token_texts,
)
from coupling.figures.style import MAGNITUDE, PIXELS_AN_INCH, WIDTH, enlarge_text, squares, styled


def grid(
    runs: Runs, *, k: int | None = None, prompt: int | None = None, blocks: tuple[int, int] | None = None,
    block: int | str | None = None, tokens: tuple[int, int] | None = None, token: int | None = None,
    highest: float | None = None,
) -> Figure:  # fmt: skip
    """Each Jacobian a in the singular frames of each other b: abs(U_b^T J_a V_b), K x K, on one color scale.

    Diagonal tiles off the main diagonal say that two blocks (or two tokens) share their top singular vectors.
    Blocks for a run of kind depth; tokens, at one block, for the other kinds.

    Args:
        runs: one run or several, with their ``projection``.
        k: number of top singular vectors; default: the most that the run holds.
        prompt: which prompt; default: the first that kept its projections.
        blocks: (first, one past the last) of a depth run; default: the middle eight.
        block: of the other kinds: a block, or a pair such as "2:5"; default: the middle one.
        tokens: (first, one past the last) of the other kinds; default: the middle eight.
        token: of a depth run that measured several; default: the last measured.
        highest: value that gets the darkest color. Default: the largest of all, unless a few Jacobians dwarf the
            rest; then 1.5 times what the largest entry of most is, and the color bar says that more is cut.

    Raises:
        CouplingError: if the run kept no projections or does not hold what was asked for.
    """
    chosen = as_runs(runs)
    k = shared_k(chosen, k)
    if highest is not None and not (0 < highest < np.inf):
        raise CouplingError(f"highest is {highest}, but must be a number above 0")
    pictures = [_mosaic(run, k, prompt, blocks, block, tokens, token) for run in chosen]
    largest = max(float(np.nanmax(image)) for image, *_ in pictures)
    if highest is None:
        highest = _robust_highest(pictures, largest)
    with styled():
        cells = max(len(image) for image, *_ in pictures)
        figure = squares(len(pictures), cells / PIXELS_AN_INCH)
        enlarge_text(figure.get_figwidth() / (WIDTH if len(pictures) == 1 else 2.8 * len(pictures)))
        all_axes = figure.subplots(1, len(pictures), squeeze=False)[0]
        for axes, (image, side, labels, what), name in zip(all_axes, pictures, run_names(chosen), strict=True):
            mappable = axes.imshow(image, cmap=MAGNITUDE, vmin=0, vmax=highest)
            _label(axes, side, labels, what)
            if len(pictures) > 1:
                axes.set_title(name)
        bar = figure.colorbar(
            mappable, ax=list(all_axes), shrink=0.8, pad=0.02, extend="max" if largest > highest else "neither"
        )
        bar.set_label(f"|U_bᵀ J_a V_b|, {k} × {k} a tile{pictures[0][3][2]}")
        bar.outline.set_visible(False)
    return figure


def _robust_highest(pictures: list[tuple], largest: float) -> float:
    """The largest value, or a lower one where the Jacobians of a few rows would leave all others blank."""
    rows = [float(np.nanmax(image[start : start + side])) for image, side, *_ in pictures
            for start in range(0, len(image), side)]  # fmt: skip
    usual = 1.5 * float(np.quantile(rows, 0.75))
    return usual if largest > 2 * usual else largest


def _mosaic(
    run: xr.Dataset, k: int, prompt: int | None, blocks: tuple[int, int] | None, block: int | str | None,
    tokens: tuple[int, int] | None, token: int | None,
) -> tuple[np.ndarray, int, list[str], tuple[str, str, str]]:  # fmt: skip
    """All tiles as one image, gaps NaN; the side of a tile with its gap, the labels, and what they count."""
    place = detail_place(run, "projection", "grid", prompt)
    number = int(run.detailed_prompt.values[place])
    tiles = run.projection.isel(detailed_prompt=place)
    tiles = tiles.isel(rank=slice(k), other_rank=slice(k))
    what: tuple[str, str, str]
    if kind(run) == "depth":
        if block is not None or tokens is not None:
            raise CouplingError("one block and a range of tokens belong to runs that compare tokens, not to depth")
        at_token = ""
        if "token" in tiles.dims:
            place = _measured_token(tiles, token)
            tiles, at_token = tiles.isel(token=place), f", token {place}"
        elif token is not None and token != int(run.measured_token.isel(prompt=number)):
            raise CouplingError(f"the run measured no token {token} of prompt {number}; see coupling analyze --tokens")
        numbers = choose_range(blocks, run.block.values.tolist(), "blocks")
        tiles = tiles.sel(block=numbers, other_block=numbers).transpose("block", "other_block", "rank", "other_rank")
        labels, what = [str(one) for one in numbers], ("block a", "block b", f", prompt {number}{at_token}")
    else:
        if blocks is not None or token is not None:
            raise CouplingError("a range of blocks and one token belong to runs of kind depth")
        at = choose_block(run, block)
        tiles = tiles.isel(block=at).transpose("token", "other_token", "rank", "other_rank")
        measured = np.flatnonzero(np.isfinite(tiles.isel(rank=0, other_rank=0).values).any(axis=1)).tolist()
        numbers = choose_range(tokens, measured, "tokens")
        tiles = tiles.isel(token=numbers, other_token=numbers)
        texts = token_texts(run, number)
        labels = [texts[token] for token in numbers]
        what = ("token a", "token b", f", block {pair_names(run)[at]}, prompt {number}")
    gap = max(1, k // 12)
    side = k + gap
    image = np.full((side * len(numbers) - gap, side * len(numbers) - gap), np.nan, dtype=np.float32)
    values = np.abs(tiles.values)
    for row in range(len(numbers)):
        for column in range(len(numbers)):
            image[row * side : row * side + k, column * side : column * side + k] = values[row, column]
    return image, side, labels, what


def _measured_token(tiles: xr.DataArray, token: int | None) -> int:
    finite = np.isfinite(tiles.isel(block=0, other_block=0, rank=0, other_rank=0).values)
    measured = np.flatnonzero(finite).tolist()
    if token is None:
        return int(measured[-1])
    if token not in measured:
        raise CouplingError(f"the run measured no token {token} of this prompt: it has {measured}")
    return token


def _label(axes: Axes, side: int, labels: list[str], what: tuple[str, str, str]) -> None:
    step = max(1, -(-len(labels) // 16))
    places = [index * side + (side - 1) / 2 for index in range(0, len(labels), step)]
    words = any(len(label) > 3 for label in labels)
    axes.set_xticks(places, labels[::step], rotation=90 if words else 0)
    axes.set_yticks(places, labels[::step])
    axes.tick_params(length=0)
    axes.set_xlabel(f"{what[1]} (singular frames)")
    axes.set_ylabel(f"{what[0]} (Jacobian)")
    for spine in axes.spines.values():
        spine.set_visible(False)
