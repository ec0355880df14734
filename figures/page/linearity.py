"""The report's linearity: line-shape score and expodistance by token, all runs in one chart."""

from typing import Any

import xarray as xr

from coupling.figures.linearity import enough_prompts
from coupling.figures.page.packing import short_numbers
from coupling.figures.page.section import MEAN, Material, Section
from coupling.figures.selection import is_random, token_texts


def _data(material: Material) -> list[Any]:
    return [
        [
            {
                "name": name,
                "random": is_random(run),
                "prompts": {str(prompt): _of_prompt(run, prompt) for prompt in material.prompts},
            }
            for run, name in zip(material.runs, material.names, strict=True)
        ]
    ]


def _of_prompt(run: xr.Dataset, prompt: int) -> dict[str, Any]:
    """Line-shape score and expodistance of each token; of the mean over prompts, the medians at each position."""
    measures = run.line_shape_score, run.expodistance
    if prompt == MEAN:
        enough = enough_prompts(run.line_shape_score).values
        shape, distance = (values.median("prompt").values[enough] for values in measures)
        return {"shape": short_numbers(shape), "distance": short_numbers(distance), "texts": None}
    texts = token_texts(run, prompt)
    shape, distance = (values.isel(prompt=prompt).values[: len(texts)] for values in measures)
    return {"shape": short_numbers(shape), "distance": short_numbers(distance), "texts": texts}


SECTION = Section(
    name="linearity",
    title="Straightness of the tokens' paths",
    how_to_read=(
        "The line-shape score is 1 where a token's path through the residual stream is straight; expodistance is 0 "
        "where its norm grows exponentially from layer to layer. Random weights, dashed, are the baseline: add a run "
        "of coupling analyze --random-weights to compare."
    ),
    data=_data,
    panels=(("shape", "line-shape score"), ("distance", "expodistance")),
    joint=True,
    wide=True,
)
