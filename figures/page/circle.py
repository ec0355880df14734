"""The report's circle: blocks on a circle, with chords between those whose coupling exceeds chance."""

from typing import Any

from coupling.dataset import is_depth
from coupling.figures.page.section import Material, Section


def _data(material: Material) -> list[Any]:
    return [{} if is_depth(run) else None for run in material.runs]  # the tables of pairs are shared


SECTION = Section(
    name="circle",
    title="Which blocks belong together",
    how_to_read=(
        "Blocks in order, clockwise from the top. A chord's width and opacity grow with the pair's excess over chance; "
        "pairs at or below chance have no chord."
    ),
    data=_data,
    if_missing="This run compares tokens; the circle is drawn from a run of kind depth.",
    needed=lambda material: any(is_depth(run) for run in material.runs),
)
