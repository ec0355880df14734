"""The sections of the page in order, its controls, and notes on what was left out."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from coupling.choices import NORMS, VARIANTS
from coupling.dataset import input_word, is_depth
from coupling.figures.page import (
    angles,
    circle,
    difference,
    grid,
    heatmap,
    image,
    linearity,
    scatter,
    spectrum,
    strongest,
    trajectory,
)
from coupling.figures.page.section import MEAN, Material, Section
from coupling.figures.selection import numbers_as_text, pair_names
from coupling.figures.style import printable

SECTIONS: tuple[Section, ...] = (
    image.SECTION,
    heatmap.SECTION,
    strongest.SECTION,
    grid.SECTION,
    circle.SECTION,
    trajectory.SECTION,
    difference.SECTION,
    angles.SECTION,
    spectrum.SECTION,
    linearity.SECTION,
    scatter.SECTION,
)
"""Each is one Python file that collects what its charts draw, and one script of the same name that draws them."""
NORM_NAMES = {1: "trace", 2: "Frobenius"}


def controls_of(material: Material, first_skip: int) -> list[dict[str, Any]]:
    """The page's controls: name, label, options (value and text), and the value that is chosen first.

    Args:
        material: what the page contains.
        first_skip: how many first tokens are left out at first.
    """
    runs = material.runs
    what = input_word(*runs)
    k_names = material.k_names
    last = len(k_names) - 1
    controls = [
        _control("show", "show", [("excess", "excess over chance"), ("coupling", "coupling")], "excess"),
        _control("k", "K", [(index, k_names[index]) for index in range(last, -1, -1)], last),
        _control("p", "p", [(p, f"{p} ({NORM_NAMES[p]})") for p in reversed(NORMS)], 2),
        _control("variant", "variant", [(one.label, one.label) for one in VARIANTS], VARIANTS[0].label),
        _control("prompt", what, [(MEAN, f"mean over {what}s"), *_prompts(runs, material.extent.prompts)], MEAN),
    ]
    blocks = _shared_blocks(runs)
    if blocks:
        controls.append(_control("block", "block", [(name, name) for name in blocks], blocks[(len(blocks) - 1) // 2]))
    if len(material.skips) > 1:
        options = [(skip, "none" if not skip else str(skip)) for skip in material.skips]
        controls.append(_control("skip", "first tokens left out", options, first_skip))
    return controls


def _control(name: str, label: str, options: Sequence[tuple[Any, str]], chosen: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "options": options, "chosen": chosen}


def _prompts(runs: Sequence[xr.Dataset], count: int) -> list[tuple[int, str]]:
    """Each prompt's number, with its text if all runs that contain it agree on it."""
    options = []
    for number in range(count):
        texts = {str(run.prompt_text.values[number]) for run in runs if "prompt_text" in run}
        text = f": {printable(texts.pop(), 60)}" if len(texts) == 1 else ""
        options.append((number, f"{number}{text}"))
    return options


def _shared_blocks(runs: Sequence[xr.Dataset]) -> list[str]:
    """The blocks, or pairs of blocks, that all runs that compare tokens have."""
    of_runs = [pair_names(run) for run in runs if not is_depth(run)]
    return [name for name in of_runs[0] if all(name in other for other in of_runs)] if of_runs else []


def notes_on(material: Material, left_out_ks: Sequence[int]) -> list[str]:
    """What was left out of the page to keep it small, or because not all runs have it."""
    runs, extent = material.runs, material.extent
    word = input_word(*runs)
    notes = []
    if left_out_ks:
        notes.append(f"K = {', '.join(map(str, left_out_ks))} is left out: not all runs have it.")
    counts = {run.sizes["prompt"] for run in runs}
    if len(counts) > 1:
        notes.append(f"The runs have different numbers of {word}s; those that all of them have can be chosen.")
    if extent.bits < 16:
        notes.append(
            f"To keep this page small, numbers of single {word}s are rounded to 1/254 of their table's range; means "
            f"over {word}s are not."
        )
    if extent.variants < len(VARIANTS):
        notes.append(f"To keep this page small, single {word}s have the absolute variant alone.")
    if extent.prompts < min(counts):
        notes.append(
            f"To keep this page small, it contains {word}s {numbers_as_text(range(extent.prompts))} of {min(counts)}; "
            f"means over {word}s are over all of them."
        )
    if any(not is_depth(run) and run.sizes["token"] > extent.tokens for run in runs):
        notes.append(f"To keep this page small, pairs of tokens are shown for the first {extent.tokens} measured ones.")
    return notes
