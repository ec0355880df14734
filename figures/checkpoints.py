"""Checkpoints: the coupling of every pair of blocks, at several training steps side by side."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coupling.choices import variant_of
from coupling.errors import CouplingError
from coupling.figures.selection import (
    Runs,
    as_runs,
    mean_over_pairs,
    numbers_as_text,
    overall_mean,
    require_depth,
    run_names,
    shared_k,
    variant_suffix,
)
from coupling.figures.steps import short_step
from coupling.figures.style import (
    MAGNITUDE,
    NOT_COMPARED,
    WIDTH,
    block_ticks,
    enlarge_text,
    mark_on_colorbar,
    new_figure,
    printable,
    styled,
)
from coupling.shares import K

MOST = 6
"""Checkpoints that are drawn of each model where no steps are given."""
TILE = 1.6
"""Inches for each matrix."""


def checkpoints(
    runs: Runs,
    *,
    steps: Sequence[int] | None = None,
    k: K | None = None,
    norm: int = 2,
    signed: bool = False,
    swapped: bool = False,
    prompt: int | None = None,
) -> Figure:
    """Block x block matrices of the coupling ``1 - m`` through training, one row per model, on one color scale.

    Compare Figure 1(c) of the paper. The attributes ``step``, ``training_model`` and ``training_seed`` of the runs say
    where each belongs; ``coupling.analyses.dynamics.checkpoint_runs`` reads runs and adds them. A run without a step is
    drawn in the order given, under its own name.

    Args:
        runs: the runs of checkpoints.
        steps: the training steps that are drawn; default: at most six, evenly spaced among those that every model has.
        k: number of top singular vectors, or a share of the width such as "10%"; default: the largest that all runs
            have.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.
        prompt: one prompt; default: the mean over prompts.

    Returns:
        The picture.

    Raises:
        CouplingError: if a run compares tokens, has no such k, norm or prompt, or no model has the steps.
    """
    chosen = as_runs(runs)
    for run in chosen:
        require_depth(run, "checkpoints")
    k = shared_k(chosen, k)
    variant = variant_of(signed=signed, swapped=swapped)
    rows = _rows(chosen, steps)
    shown = [run for row in rows.values() for _, run in row]
    tables, levels = [], []
    for run in shown:
        mismatch, chance = (
            mean_over_pairs(run, variant.variable(quantity), k=k, norm=norm, prompt=prompt)
            for quantity in ("mismatch", "chance")
        )
        tables.append(1 - mismatch.values)
        levels.append(1 - overall_mean(chance))
    level = float(np.mean(levels))
    low, high = min(level, *(float(np.nanmin(t)) for t in tables)), max(level, *(float(np.nanmax(t)) for t in tables))
    width = max(len(row) for row in rows.values())
    with styled():
        figure = new_figure(TILE * len(rows) + 0.7, max(WIDTH, TILE * width + 1.3))
        enlarge_text(figure.get_figwidth() / (2 * WIDTH))
        all_axes = figure.subplots(len(rows), width, squeeze=False)
        left = iter(zip(shown, tables, strict=True))
        for axes_of_row, (name, row) in zip(all_axes, rows.items(), strict=True):
            for axes, (title, _) in zip(axes_of_row, row, strict=False):
                run, table = next(left)
                image = axes.imshow(table, cmap=MAGNITUDE, vmin=low, vmax=high)
                _label(axes, run, title, is_lowest=axes in all_axes[-1])
            axes_of_row[0].set_ylabel(f"{name}\nblock a" if name else "block a (Jacobian)")
            for axes in axes_of_row[len(row) :]:
                axes.set_axis_off()
        bar = figure.colorbar(image, ax=list(all_axes.flat), shrink=0.9, pad=0.09 if width > 2 else 0.14, aspect=25)
        bar.set_label(f"coupling 1 − m\n(K = {k}, p = {norm}{variant_suffix(variant)})")
        bar.outline.set_visible(False)
        mark_on_colorbar(bar, level, "chance")
    return figure


def _label(axes: Axes, run: xr.Dataset, title: str, *, is_lowest: bool) -> None:
    axes.set_facecolor(NOT_COMPARED)
    block_ticks(axes, run.block.values.tolist(), most=5)
    axes.set_title(title)
    if is_lowest:
        axes.set_xlabel("block b")
    else:
        axes.set_xticklabels([])


def _rows(runs: list[xr.Dataset], steps: Sequence[int] | None) -> dict[str, list[tuple[str, xr.Dataset]]]:
    """For each model (and seed), the runs that are drawn with their titles."""
    if not all("step" in run.attrs for run in runs):
        if steps is not None:
            raise CouplingError("a run has no training step, so `steps` cannot choose among the runs")
        return {"": list(zip(run_names(runs), runs, strict=True))}
    trainings: dict[str, dict[int, xr.Dataset]] = {}
    several = len({run.attrs.get("training_seed") for run in runs}) > 1
    for run in runs:
        name = printable(str(run.attrs.get("training_model", "")), 20)
        name += f", seed {run.attrs.get('training_seed')}" if several else ""
        trainings.setdefault(name, {})[int(run.attrs["step"])] = run
    shared = sorted(set.intersection(*(set(of_step) for of_step in trainings.values())))
    wanted = _spread(shared) if steps is None else sorted(set(steps))
    if not wanted:
        raise CouplingError(f"the models share no training step: {', '.join(trainings)}; draw one model")
    for name, of_step in trainings.items():
        absent = [step for step in wanted if step not in of_step]
        if absent:
            raise CouplingError(
                f"there is no run of {name or 'the model'} at step {absent[0]}; its runs are of the steps "
                f"{numbers_as_text(sorted(of_step))}"
            )
    if len(trainings) == 1:
        trainings = {"": next(iter(trainings.values()))}
    return {
        name: [(f"step {short_step(step)}", of_step[step]) for step in wanted] for name, of_step in trainings.items()
    }


def _spread(steps: list[int]) -> list[int]:
    """At most ``MOST`` steps, the first and the last among them."""
    places = np.linspace(0, len(steps) - 1, min(MOST, len(steps))).round().astype(int).tolist()
    return [steps[place] for place in dict.fromkeys(places)]
