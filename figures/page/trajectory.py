"""The report's trajectory: tokens' paths on two principal components."""

from typing import Any

import xarray as xr

from coupling.errors import CouplingError
from coupling.figures.page.packing import packed, short
from coupling.figures.page.section import Material, Section
from coupling.figures.trajectory import paths_of, principal_components

MOST_PROMPTS = 6
"""Prompts whose paths the page contains."""


def _data(material: Material) -> list[Any]:
    return [_of_run(material, run) or None if "residual_stream" in run else None for run in material.runs]


def _of_run(material: Material, run: xr.Dataset) -> dict[str, Any]:
    """By prompt and number of first tokens left out: the tokens, their coordinates, and the shares of variance."""
    detailed = [prompt for prompt in run.detailed_prompt.values.tolist() if prompt < material.extent.prompts]
    prompts = {str(prompt): _of_prompt(material, run, prompt) for prompt in detailed[:MOST_PROMPTS]}
    return {prompt: paths for prompt, paths in prompts.items() if paths}


def _of_prompt(material: Material, run: xr.Dataset, prompt: int) -> dict[str, Any]:
    found = {}
    for skip in material.skips:
        try:
            paths = paths_of(run, prompt, skip_first=skip)
            points, shares = principal_components(paths.stream)
        except CouplingError:  # too few tokens, or too few points for two components
            continue
        found[str(skip)] = {
            "tokens": paths.tokens,
            "texts": paths.texts,
            "x": packed(points[:, :, 0]),
            "y": packed(points[:, :, 1]),
            "shares": [short(float(share), 3) for share in shares],
        }
    return found


SECTION = Section(
    name="trajectory",
    title="Paths of the tokens",
    how_to_read=(
        "One line per token through the residual stream, on the first two principal components of its prompt or image; "
        "the mark is open where the token enters the first block, and filled where it leaves the last."
    ),
    data=_data,
    if_missing="This run kept no residual streams; coupling analyze --detail all keeps them.",
)
