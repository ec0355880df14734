"""The report's spectrum: singular values by block, and their reciprocals with the least-squares line."""

from typing import Any

import numpy as np
import xarray as xr

from coupling.figures.page.packing import short, short_numbers
from coupling.figures.page.section import MEAN, Material, Section
from coupling.figures.spectrum import singular_values_by_block, straightness

MOST_RANKS = 8


def _data(material: Material) -> list[Any]:
    return [{str(prompt): _of_prompt(run, prompt) for prompt in material.prompts} for run in material.runs]


def _of_prompt(run: xr.Dataset, prompt: int) -> dict[str, Any]:
    """Blocks, and for each rank the singular values and the line through their reciprocals."""
    values, blocks = singular_values_by_block(run, prompt=None if prompt == MEAN else prompt)
    return {
        "blocks": blocks,
        "ranks": [
            {"s": short_numbers(values[:, rank])} | _line(np.array(blocks, dtype=float), values[:, rank])
            for rank in range(min(MOST_RANKS, values.shape[1]))
        ],
    }


def _line(blocks: np.ndarray, values: np.ndarray) -> dict[str, float | None]:
    kept = np.isfinite(values) & (values > 0)
    if kept.sum() < 3:
        return {"slope": None, "intercept": None, "r2": None}
    slope, intercept, r_squared = straightness(blocks[kept], 1 / values[kept])
    return {"slope": short(slope), "intercept": short(intercept), "r2": short(r_squared, 3)}


SECTION = Section(
    name="spectrum",
    title="Spectrum",
    how_to_read=(
        "The largest singular values of each block's Jacobian, and their reciprocals with the least-squares line. R² "
        "is near 1 where singular values fall as one over depth."
    ),
    data=_data,
    panels=(("values", "singular values"), ("reciprocals", "reciprocals")),
    wide=True,
)
