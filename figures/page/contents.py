"""What the report says outside its charts: the table of scores, the controls, and notes on what was left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import xarray as xr

from coupling.choices import NORMS, VARIANTS, Picture
from coupling.dataset import input_word, is_depth
from coupling.figures.selection import kind, numbers_as_text, pair_names, run_names
from coupling.figures.style import printable
from coupling.sinks import note
from coupling.summary import summarize
from coupling.untrusted import clean

MEAN = -1
"""The number that stands for the mean over prompts instead of one prompt."""
NORM_NAMES = {1: "trace", 2: "Frobenius"}


@dataclass(frozen=True)
class Section:
    """The texts of one section of the page.

    Attributes:
        title: its heading.
        how_to_read: what its charts show.
        if_missing: what stands in the place of a chart that cannot be drawn.
    """

    title: str
    how_to_read: str
    if_missing: str = ""


SECTIONS: dict[Picture | Literal["image"], Section] = {
    "image": Section(
        "Images",
        "Each image as the model sees it, cut and scaled, with the measured patches outlined. Where several were "
        "measured, the heat map shows the coupling of each patch at the chosen K and p: its mean over all other tokens "
        "at the chosen block, or, in a run of kind depth, over all pairs of blocks.",
        "This run did not measure images, or kept no pictures of them.",
    ),
    "heatmap": Section(
        "Heatmap",
        "The coupling of every ordered pair: the darker a cell, the more nearly diagonal the row's Jacobian is in the "
        "column's singular frames. The line above the matrix compares its mean with chance; hovering over a cell shows "
        "its coupling and the mean chance level.",
    ),
    "circle": Section(
        "Circle",
        "Blocks in order, clockwise from the top. A chord's width and opacity grow with the pair's excess over chance; "
        "pairs at or below chance have no chord.",
        "This run compares tokens; the circle is drawn from a run of kind depth.",
    ),
    "spectrum": Section(
        "Spectrum",
        "The largest singular values of each block's Jacobian, and their reciprocals, which lie on the least-squares "
        "line where singular values fall as one over depth.",
    ),
    "trajectory": Section(
        "Trajectory",
        "One line per token through the residual stream, on the first two principal components of its prompt or image; "
        "the mark is white where the token enters the first block, and filled where it leaves the last.",
        "This run kept no residual streams; coupling analyze --detail all keeps them.",
    ),
    "linearity": Section(
        "Linearity",
        "The line-shape score is 1 where a token's path is straight; expodistance is 0 where its norm grows "
        "exponentially from layer to layer. Untrained models are dashed.",
    ),
    "scatter": Section(
        "Scatter",
        "One point per model: its coupling against its benchmark score, with the least-squares line.",
    ),
}


@dataclass(frozen=True)
class Extent:
    """How much of the runs a page contains.

    Attributes:
        prompts: how many prompts can be chosen, from the first.
        tokens: how many measured tokens are shown where tokens are compared, from the first.
    """

    prompts: int
    tokens: int


def summary_of(run: xr.Dataset, name: str) -> dict[str, Any]:
    """A run's rows in the table of scores, and where its numbers come from."""
    summary = summarize(run)
    return {
        "name": name,
        "kind": kind(run),
        "blocks": summary["blocks"],
        "prompts": summary["prompts"],
        "scores": [_score_row(row) for row in summary["scores"] if row["variant"] == VARIANTS[0].label],
        "provenance": [
            (clean(key, 100), clean(value, 1000)) for key, value in summary["provenance"].items() if value != ""
        ],
    }


def _score_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "k": row["k"],
        "norm": row["norm"],
        "score": _number(row["score"]),
        "sd": _number(row["sd_over_prompts"]),
        "chance": _number(row["chance"]),
        "excess": "–" if row["excess"] is None else f"{100 * row['excess']:z.1f}%",
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def controls_of(runs: Sequence[xr.Dataset], extent: Extent) -> list[dict[str, Any]]:
    """The page's controls: name, label, options (value and text), and the option that is chosen first."""
    what = input_word(*runs)
    ks = reversed(runs[0].k.values.tolist())
    controls: list[dict[str, Any]] = [
        {"name": "k", "label": "K", "options": [(k, k) for k in ks]},
        {"name": "p", "label": "p", "options": [(p, f"{p} ({NORM_NAMES[p]})") for p in reversed(NORMS)]},
        {"name": "variant", "label": "variant", "options": [(variant.label, variant.label) for variant in VARIANTS]},
        {"name": "prompt", "label": what, "options": [(MEAN, f"mean over {what}s"), *_prompts(runs, extent)]},
    ]
    blocks = _shared_blocks(runs)
    if blocks:
        options = [(block, block) for block in blocks]
        middle = blocks[(len(blocks) - 1) // 2]
        controls.append({"name": "block", "label": "block", "options": options, "chosen": middle})
    return controls


def _prompts(runs: Sequence[xr.Dataset], extent: Extent) -> list[tuple[int, str]]:
    """Each prompt's number, with its text if all runs that contain it agree on it."""
    options = []
    for number in range(extent.prompts):
        texts = {str(run.prompt_text.values[number]) for run in runs if "prompt_text" in run}
        text = f": {printable(texts.pop(), 60)}" if len(texts) == 1 else ""
        options.append((number, f"{number}{text}"))
    return options


def _shared_blocks(runs: Sequence[xr.Dataset]) -> list[str]:
    """The blocks, or pairs of blocks, that all runs that compare tokens have."""
    of_runs = [pair_names(run) for run in runs if not is_depth(run)]
    return [name for name in of_runs[0] if all(name in other for other in of_runs)] if of_runs else []


def notes_on(runs: Sequence[xr.Dataset], extent: Extent, left_out_ks: Sequence[int]) -> list[str]:
    """What was left out of the page, and where its runs differ."""
    notes = [f"{name}: {text}." for name, text in zip(run_names(runs), map(note, runs), strict=True) if text]
    if left_out_ks:
        notes.append(f"K = {', '.join(map(str, left_out_ks))} is left out: not all runs have it.")
    counts, word = {run.sizes["prompt"] for run in runs}, input_word(*runs)
    if len(counts) > 1:
        notes.append(f"The runs have different numbers of {word}s; those that all of them have can be chosen.")
    if extent.prompts < min(counts):
        notes.append(
            f"To keep this page small, it contains {word}s {numbers_as_text(range(extent.prompts))} of {min(counts)}; "
            f"means over {word}s are over all of them."
        )
    if any(not is_depth(run) and run.sizes["token"] > extent.tokens for run in runs):
        notes.append(f"To keep this page small, pairs of tokens are shown for the first {extent.tokens} measured ones.")
    if len({str(run.attrs.get("prompts_hash", "")) for run in runs}) > 1:
        notes.append(f"The runs were measured on different {word}s.")
    return notes
