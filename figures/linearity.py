"""Linearity: how straight the paths of tokens are, and how close to exponential their norms grow."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coupling.figures.selection import Runs, as_runs, choose_prompt, is_random, run_names, token_texts
from coupling.figures.style import GRAY, PALETTE, WIDTH, legend_above, new_figure, plain_log_ticks, styled
from coupling.sinks import note, skipped


def linearity(runs: Runs, *, prompt: int | None = None, skip_first: int | None = None) -> Figure:
    """Line-shape score (1 on a straight line) and expodistance (0 where norms grow exponentially) by token.

    For several prompts: the median at each position, with a band of the middle half of the prompts. A run with random
    weights (``random_weights=True``) is drawn as a dashed baseline.

    Args:
        runs: one run or several.
        prompt: one prompt, with its tokens on the axis; default: all prompts by position.
        skip_first: how many first tokens are left out. Default: 1 where the first token's norm dwarfs the others' (an
            attention sink), which the axis then says; otherwise 0.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run has no such prompt, or `skip_first` leaves no token.
    """
    chosen = as_runs(runs)
    if prompt is not None:
        for run in chosen:
            choose_prompt(run, prompt)
    with styled():
        figure = new_figure(0.8 * WIDTH)
        upper, lower = figure.subplots(2, 1, sharex=True)
        colors = iter(PALETTE * len(chosen))
        for run, name in zip(chosen, run_names(chosen), strict=True):
            look = {"color": GRAY, "linestyle": "--"} if is_random(run) else {"color": next(colors)}
            kept = slice(skipped(run, skip_first), None)
            _draw(upper, run.line_shape_score.isel(token=kept), prompt, name, look)
            _draw(lower, run.expodistance.isel(token=kept), prompt, name, look)
        _finish_line_shape(upper)
        _finish_expodistance(lower, chosen)
        notes = dict.fromkeys(note(run, skip_first) for run in chosen)
        left_out = "".join(f"\n{text}" for text in notes if text)
        lower.set_xlabel(("token" if prompt is not None else "token position") + left_out)
        if prompt is not None:
            _label_tokens(lower, chosen, prompt)
        if len(chosen) > 1:
            handles, labels = upper.get_legend_handles_labels()
            legend_above(figure, handles, labels, columns=min(3, len(chosen)))
    return figure


def enough_prompts(values: xr.DataArray) -> xr.DataArray:
    """Which positions have the values of two prompts, or of one if there is one: the longest prompt has no median."""
    return values.notnull().sum("prompt") >= min(2, values.sizes["prompt"])


def _draw(axes: Axes, values: xr.DataArray, prompt: int | None, name: str, look: dict[str, Any]) -> None:
    if prompt is not None:
        line = values.isel(prompt=prompt).dropna("token")
        axes.plot(line.token, line.values, marker=".", label=name, **look)
        return
    values = values.sel(token=enough_prompts(values))
    marker = "." if len(values.token) < 3 else None
    axes.plot(values.token, values.median("prompt"), label=name, marker=marker, **look)
    if values.sizes["prompt"] > 1:
        low, high = (values.quantile(share, "prompt") for share in (0.25, 0.75))
        axes.fill_between(values.token, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _finish_line_shape(axes: Axes) -> None:
    axes.axhline(1, color=GRAY, linewidth=0.8, linestyle=":")
    axes.annotate(
        "straight", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8, color=GRAY
    )
    axes.set_ylabel("line-shape score")
    axes.set_ylim(bottom=min(0.9, axes.get_ylim()[0]))


def _finish_expodistance(axes: Axes, runs: list[xr.Dataset]) -> None:
    axes.set_ylabel("expodistance")
    if _spread(runs) > 50:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


def _spread(runs: list[xr.Dataset]) -> float:
    """The largest expodistance as a multiple of the median one."""
    values = np.concatenate([run.expodistance.values.ravel() for run in runs])
    values = values[np.isfinite(values) & (values > 0)]
    return float(values.max() / np.median(values)) if len(values) else 1.0


def _label_tokens(axes: Axes, runs: list[xr.Dataset], prompt: int) -> None:
    """The prompt's tokens; their positions if runs have other prompts or another tokenizer."""
    texts_of_runs = [token_texts(run, prompt) for run in runs]
    texts = texts_of_runs[0]
    if any(other != texts for other in texts_of_runs):
        texts = [str(position) for position in range(max(map(len, texts_of_runs)))]
    step = max(1, -(-len(texts) // 40))
    axes.set_xticks(range(0, len(texts), step), texts[::step], rotation=90, fontsize=8)
