"""The report's difference of two runs: how much more each pair exceeds chance than in the first run."""

from typing import Any

from coupling.dataset import is_depth
from coupling.figures.page.section import Material, Section


def _data(material: Material) -> list[Any]:
    """For each run but the first, whether its blocks are those of the first."""
    first = material.runs[0]
    return [None if index == 0 or not _alike(first, run) else {} for index, run in enumerate(material.runs)]


def _alike(first: Any, other: Any) -> bool:
    return is_depth(first) and is_depth(other) and first.block.values.tolist() == other.block.values.tolist()


SECTION = Section(
    name="difference",
    title="Difference from the first run",
    how_to_read=(
        "The excess of every pair minus that of the same pair in the first run, in percentage points. The middle of "
        "the color scale is no difference."
    ),
    data=_data,
    if_missing="Only runs of kind depth with the same blocks as the first run can be subtracted from it, pair by pair.",
    needed=lambda material: any(data is not None for data in _data(material)),
)
