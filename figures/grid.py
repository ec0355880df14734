"""Grid: the co-diagonalization matrices abs(U_b^T J_a V_b), pair by pair."""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coupling.dataset import input_word, is_depth
from coupling.errors import CouplingError, renamed
from coupling.figures.caption import caption as write_caption
from coupling.figures.scale import limits
from coupling.figures.selection import (
    Range,
    Runs,
    Tokens,
    as_runs,
    choose_block,
    choose_range,
    detailed_index,
    detailed_prompt_number,
    kind,
    numbers_as_text,
    pair_names,
    run_names,
    shared_k,
    token_position,
    token_texts,
)
from coupling.figures.style import MAGNITUDE, PIXELS_PER_INCH, WIDTH, enlarge_text, figure_of_squares, styled, wrapped
from coupling.shares import K, find_k


@dataclass(frozen=True)
class Tiles:
    """The matrices of one run.

    Attributes:
        values: one K x K matrix per pair.
        labels: the names of the Jacobians, in order.
        what: "block" or "token".
        caption: the token or block that the matrices belong to, after a comma.
        prompt: the number of the prompt.
    """

    values: Float[np.ndarray, "n n K K"]
    labels: list[str]
    what: str
    caption: str
    prompt: int

    @property
    def pitch(self) -> int:
        """Cells from one tile to the next: K and a gap."""
        k = self.values.shape[-1]
        return k + max(1, k // 12)

    def image(self) -> Float[np.ndarray, "side side"]:
        """All tiles as one image of their absolute values; NaN in the gaps."""
        n, k, pitch = len(self.values), self.values.shape[-1], self.pitch
        side = pitch * n - (pitch - k)
        image = np.full((side, side), np.nan, dtype=np.float32)
        for row in range(n):
            for column in range(n):
                top, left = row * pitch, column * pitch
                image[top : top + k, left : left + k] = np.abs(self.values[row, column])
        return image


def grid(
    runs: Runs,
    *,
    k: K | None = None,
    prompt: int | None = None,
    blocks: Range | None = None,
    block: int | str | None = None,
    tokens: Tokens | None = None,
    highest: float | None = None,
    token: int | None = None,
) -> Figure:
    """Each Jacobian a in the singular frames of each other b: abs(U_b^T J_a V_b), K x K, on one color scale.

    Tiles off the main diagonal that are diagonal themselves say that two blocks (or two tokens) share their top
    singular vectors. A run of kind depth is drawn by blocks, a run of another kind by tokens, at one block.

    Args:
        runs: one run or several, with their ``projection``.
        k: number of top singular vectors, or a share of the width such as "10%"; default: the largest that all runs
            have.
        prompt: which prompt; default: the first that kept its projections.
        blocks: for kind depth: (first, one past the last); default: the middle eight.
        block: for the other kinds: a block, or a pair such as "2:5"; default: the middle one.
        tokens: for kind depth: the one token whose Jacobians are drawn, among those measured; default: the last
            measured. For the other kinds: (first, one past the last), or one token; default: the middle eight.
            Negative numbers count from the prompt's end, and "last" is its last token.
        highest: the value that gets the darkest color. Default: the largest between different Jacobians, unless a few
            values dwarf the rest (see ``coupling.figures.scale.limits``); the color bar shows that larger ones are cut.
        token: the former name of ``tokens`` for kind depth.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run kept no projections, or has no such k, prompt, block or token.
    """
    tokens = cast(Tokens | None, renamed("token", token, "tokens", tokens))
    chosen = as_runs(runs)
    k = shared_k(chosen, k)
    if highest is not None and not (0 < highest < np.inf):
        raise CouplingError(f"`highest` is {highest}, but must be a number above 0")
    tiles = [_tiles(run, k, prompt, blocks, block, tokens) for run in chosen]
    images = [one_run.image() for one_run in tiles]
    largest = max(float(np.nanmax(image)) for image in images)
    if highest is None:
        highest = _between_tiles(tiles)
    with styled():
        cells = max(len(image) for image in images)
        figure = figure_of_squares(len(chosen), cells / PIXELS_PER_INCH)
        enlarge_text(figure.get_figwidth() / (WIDTH if len(chosen) == 1 else 2.8 * len(chosen)))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        for axes, one_run, image, name in zip(all_axes, tiles, images, run_names(chosen), strict=True):
            mappable = axes.imshow(image, cmap=MAGNITUDE, vmin=0, vmax=highest)
            _label(axes, one_run)
            if len(chosen) > 1:
                axes.set_title(wrapped(name))
        bar = figure.colorbar(
            mappable, ax=list(all_axes), shrink=0.8, pad=0.02, extend="max" if largest > highest else "neither"
        )
        sizes = {one_run.values.shape[-1] for one_run in tiles}
        size = f"{min(sizes)} × {min(sizes)}" if len(sizes) == 1 else f"K × K, K = {k},"
        bar.set_label(f"|U_bᵀ J_a V_b|, {size} per tile{tiles[0].caption}")
        bar.outline.set_visible(False)
        write_caption(figure, chosen, tiles[0].prompt)
    return figure


def _between_tiles(tiles: list[Tiles]) -> float:
    """The value of the darkest color: the largest between different Jacobians, unless a few of those dwarf the rest.

    A Jacobian in its own frames shows its singular values, which are far larger than anything between two Jacobians.
    """
    between = []
    for one_run in tiles:
        n = len(one_run.values)
        between.append(np.abs(one_run.values[~np.eye(n, dtype=bool)] if n > 1 else one_run.values))
    _, highest, _ = limits(between)
    return highest if highest > 0 else 1.0


def _tiles(
    run: xr.Dataset,
    k: K,
    prompt: int | None,
    blocks: Range | None,
    block: int | str | None,
    tokens: Tokens | None,
) -> Tiles:
    """The tiles of one run, of the kind that it is."""
    index = detailed_index(run, "projection", "grid", prompt)
    number, size = detailed_prompt_number(run, index), find_k(run, k)
    projection = run.projection.isel(detailed_prompt=index, rank=slice(size), other_rank=slice(size))
    if is_depth(run):
        if block is not None:
            raise CouplingError("`block` is for runs that compare tokens; a run of kind depth takes `blocks`")
        if tokens is not None and not isinstance(tokens, int | str | np.integer):
            raise CouplingError("a run of kind depth is drawn at one token: `tokens` must be a number, not a range")
        return _tiles_of_blocks(run, projection, number, blocks, tokens)
    if blocks is not None:
        raise CouplingError(f"`blocks` is for runs of kind depth; a run of kind {kind(run)} takes `block`")
    return _tiles_of_tokens(run, projection, number, block, tokens)


def _tiles_of_blocks(
    run: xr.Dataset, projection: xr.DataArray, number: int, blocks: Range | None, token: int | Literal["last"] | None
) -> Tiles:
    caption = ""
    position = None if token is None else token_position(token, int(run.n_tokens.isel(prompt=number)))
    if "token" in projection.dims:
        position = _measured_token(projection, position, token)
        projection, caption = projection.isel(token=position), f", token {position}"
    elif position is not None and position != int(run.measured_token.isel(prompt=number)):
        raise CouplingError(
            f"the run did not measure token {token} of {input_word(run)} {number}, but token "
            f"{int(run.measured_token.isel(prompt=number))}; run analyze with `tokens={position}`"
        )
    numbers = choose_range(blocks, run.block.values.tolist(), "blocks")
    projection = projection.sel(block=numbers, other_block=numbers)
    values = projection.transpose("block", "other_block", "rank", "other_rank").values
    return Tiles(values, [str(block) for block in numbers], "block", caption, number)


def _measured_token(projection: xr.DataArray, position: int | None, token: int | str | None) -> int:
    """The position of the given token of a depth run that measured several, or of the last measured."""
    is_measured = np.isfinite(projection.isel(block=0, other_block=0, rank=0, other_rank=0).values)
    measured = np.flatnonzero(is_measured).tolist()
    if position is None:
        return int(measured[-1])
    if position not in measured:
        raise CouplingError(f"the run did not measure token {token} here, but tokens {numbers_as_text(measured)}")
    return position


def _tiles_of_tokens(
    run: xr.Dataset, projection: xr.DataArray, number: int, block: int | str | None, tokens: Tokens | None
) -> Tiles:
    block_index = choose_block(run, block)
    projection = projection.isel(block=block_index).transpose("token", "other_token", "rank", "other_rank")
    is_measured = np.isfinite(projection.isel(rank=0, other_rank=0).values).any(axis=1)
    texts = token_texts(run, number)
    numbers = choose_range(tokens, np.flatnonzero(is_measured).tolist(), "tokens", length=len(texts))
    return Tiles(
        projection.isel(token=numbers, other_token=numbers).values,
        [texts[token] for token in numbers],
        "token",
        f", block {pair_names(run)[block_index]}",
        number,
    )


def _label(axes: Axes, tiles: Tiles) -> None:
    step = max(1, -(-len(tiles.labels) // 16))
    centers = [index * tiles.pitch + (tiles.pitch - 1) / 2 for index in range(0, len(tiles.labels), step)]
    has_words = any(len(label) > 3 for label in tiles.labels)
    axes.set_xticks(centers, tiles.labels[::step], rotation=90 if has_words else 0)
    axes.set_yticks(centers, tiles.labels[::step])
    axes.tick_params(length=0)
    axes.set_xlabel(f"{tiles.what} b (singular frames)")
    axes.set_ylabel(f"{tiles.what} a (Jacobian)")
    for spine in axes.spines.values():
        spine.set_visible(False)
