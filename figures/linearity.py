"""Linearity: how straight, and how exponential, the paths of tokens are."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coupling.figures.selection import Runs, as_runs, choose_prompt, is_random, run_names, token_texts
from coupling.figures.style import GRAY, PALETTE, WIDTH, legend_above, new_figure, plain_log_ticks, styled


def linearity(runs: Runs, *, prompt: int | None = None) -> Figure:
    """Line-shape score (1 on a straight line) and expodistance (0 where norms grow exponentially) by token.

    Over prompts: the median by position and the middle half of prompts as a band. A run with random weights
    (``coupling analyze --random-weights``) is drawn as the dashed baseline.

    Args:
        runs: one run or several.
        prompt: one prompt, its tokens on the axis; default: all prompts by position.

    Raises:
        CouplingError: if there is no such prompt.
    """
    chosen = as_runs(runs)
    for run in chosen if prompt is not None else []:
        choose_prompt(run, prompt)
    with styled():
        figure = new_figure(0.8 * WIDTH)
        upper, lower = figure.subplots(2, 1, sharex=True)
        colors = iter(PALETTE * len(chosen))
        for run, name in zip(chosen, run_names(chosen), strict=True):
            look = {"color": GRAY, "linestyle": "--"} if is_random(run) else {"color": next(colors)}
            _draw(upper, run.line_shape_score, prompt, name, look)
            _draw(lower, run.expodistance, prompt, name, look)
        upper.axhline(1, color=GRAY, linewidth=0.8, linestyle=":")
        upper.annotate("straight", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8,
                       color=GRAY)  # fmt: skip
        upper.set_ylabel("line-shape score")
        lower.set_ylabel("expodistance")
        upper.set_ylim(bottom=min(0.9, upper.get_ylim()[0]))
        if _spread(chosen) > 50:
            lower.set_yscale("log")
            plain_log_ticks(lower.yaxis)
        else:
            lower.set_ylim(bottom=0)
        lower.set_xlabel("token" if prompt is not None else "token position")
        if prompt is not None:
            several = [token_texts(run, prompt) for run in chosen]
            texts = several[0]
            if any(other != texts for other in several):  # other prompts, or another tokenizer: positions alone
                texts = [str(place) for place in range(max(map(len, several)))]
            step = max(1, -(-len(texts) // 40))
            lower.set_xticks(range(0, len(texts), step), texts[::step], rotation=90, fontsize=8)
        if len(chosen) > 1:
            legend_above(figure, *upper.get_legend_handles_labels(), columns=min(3, len(chosen)))
    return figure


def _draw(axes: Axes, values: xr.DataArray, prompt: int | None, name: str, look: dict) -> None:
    if prompt is not None:
        line = values.isel(prompt=prompt).dropna("token")
        axes.plot(line.token, line.values, marker=".", label=name, **look)
        return
    enough = values.notnull().sum("prompt") >= min(2, values.sizes["prompt"])  # one prompt's tail is no median
    held = values.sel(token=enough)
    axes.plot(held.token, held.median("prompt"), label=name, marker="." if len(held.token) < 3 else None, **look)
    if values.sizes["prompt"] > 1:
        low, high = (held.quantile(share, "prompt") for share in (0.25, 0.75))
        axes.fill_between(held.token, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _spread(runs: list[xr.Dataset]) -> float:
    values = np.concatenate([run.expodistance.values.ravel() for run in runs])
    values = values[np.isfinite(values) & (values > 0)]
    return float(values.max() / np.median(values)) if len(values) else 1.0
