"""Heatmap: coupling of every pair, beside its chance level."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from coupling.figures.selection import (
    Runs,
    as_runs,
    choose_block,
    kind,
    mean_over_pairs,
    overall_mean,
    pair_names,
    run_names,
    shared_k,
    token_texts,
    variant_name,
)
from coupling.figures.style import MAGNITUDE, block_ticks, mark_on_colorbar, squares, styled


def heatmap(
    runs: Runs, *, k: int | None = None, norm: int = 2, signed: bool = False, swapped: bool = False,
    prompt: int | None = None, block: int | str | None = None,
) -> Figure:  # fmt: skip
    """Coupling 1 - m of every ordered pair, one color scale for all runs, the chance level marked on its bar.

    Args:
        runs: one run or several.
        k: number of top singular vectors; default: the most that the run holds.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.
        prompt: one prompt; default: the mean over prompts.
        block: for runs that compare tokens: a block, or a pair such as "2:5"; default: the middle one.

    Raises:
        CouplingError: if the run does not hold what was asked for.
    """
    chosen = as_runs(runs)
    variant: dict[str, Any] = {"norm": norm, "signed": signed, "swapped": swapped, "prompt": prompt}
    k = shared_k(chosen, k)
    pictures, levels = [], []
    for run in chosen:
        pictures.append(1 - mean_over_pairs(run, "mismatch", k=k, block=block, **variant))
        levels.append(1 - overall_mean(mean_over_pairs(run, "chance", k=k, block=block, **variant)))
    finite = np.concatenate([picture.values[np.isfinite(picture.values)] for picture in pictures])
    low, high = min(finite.min(), *levels), max(finite.max(), *levels)
    with styled():
        figure = squares(len(chosen))
        all_axes = figure.subplots(1, len(chosen), squeeze=False)[0]
        for axes, run, picture, name in zip(all_axes, chosen, pictures, run_names(chosen), strict=True):
            mappable = axes.imshow(picture.values, cmap=MAGNITUDE, vmin=low, vmax=high)
            axes.set_facecolor("#dddddd")  # where a Jacobian would be compared with itself
            if kind(run) == "depth":
                block_ticks(axes, run.block.values.tolist())
                axes.set(xlabel="block b (frames)", ylabel="block a (Jacobian)")
            else:
                tokens = picture.token.values.tolist()
                alone = run.sizes["prompt"] == 1
                texts = token_texts(run, prompt or 0) if alone or prompt is not None else None
                places = list(range(0, len(tokens), max(1, -(-len(tokens) // (8 if texts is None else 16)))))
                labels = [str(tokens[place]) if texts is None else texts[tokens[place]] for place in places]
                axes.set_xticks(places, labels, rotation=0 if texts is None else 90)
                axes.set_yticks(places, labels)
                what = "token" if texts is not None else "position"
                name_of_block = pair_names(run)[choose_block(run, block)]
                axes.set(xlabel=f"{what} b (frames)", ylabel=f"{what} a (Jacobian), block {name_of_block}")
            if len(chosen) > 1:
                axes.set_title(name)
        bar = figure.colorbar(mappable, ax=list(all_axes), shrink=0.85, pad=0.14 if len(chosen) == 1 else 0.08)
        bar.set_label(f"coupling 1 − m (K = {k}, p = {norm}{variant_name(signed, swapped)})")
        bar.outline.set_visible(False)
        for index, level in enumerate(levels if len(set(np.round(levels, 4))) > 1 else levels[:1]):
            mark_on_colorbar(bar, level, "chance" if index == 0 else "")
    return figure
