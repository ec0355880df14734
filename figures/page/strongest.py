"""The report's list of the strongest pairs."""

from typing import Any

from coupling.figures.page.section import Material, Section


def _data(material: Material) -> list[Any]:
    return [{} for _ in material.runs]  # the tables of pairs are shared


SECTION = Section(
    name="strongest",
    title="Strongest pairs",
    how_to_read=(
        "The unordered pairs with the largest values, averaged over both directions. The vertical line is chance."
    ),
    data=_data,
)
