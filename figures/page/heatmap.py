"""The report's heatmap: the excess over chance, or the coupling, of every ordered pair."""

from typing import Any

from coupling.figures.page.section import Material, Section


def _data(material: Material) -> list[Any]:
    return [{} for _ in material.runs]  # the tables of pairs are shared


SECTION = Section(
    name="heatmap",
    title="Every pair",
    how_to_read=(
        "A cell says how nearly diagonal the row's Jacobian is in the singular frames of the column, beyond what "
        "random frames would give. Cells near the color of the chance mark couple no more than chance does. Click a "
        "cell, or press Enter on it, to see its projection."
    ),
    data=_data,
)
