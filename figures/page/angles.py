"""The report's angles: principal angles between the top singular subspaces of blocks."""

from itertools import product
from typing import Any

from coupling.dataset import is_depth
from coupling.figures.angles import SIDES, chance_angle, subspace_angle
from coupling.figures.page.packing import packed, short
from coupling.figures.page.section import MEAN, Material, Section, key


def _data(material: Material) -> list[Any]:
    """For each run of kind depth, by K and prompt: the angles in degrees on both sides; and the chance level by K."""
    return [_of_run(material, run) if is_depth(run) and "left_angle" in run else None for run in material.runs]


def _of_run(material: Material, run: Any) -> dict[str, Any]:
    ks = run.k.values.tolist()
    return {
        "tables": {
            key(index, prompt): {
                side: packed(
                    subspace_angle(run, side, k=k, prompt=None if prompt == MEAN else prompt),
                    16 if prompt == MEAN else material.extent.bits,
                )
                for side in SIDES
            }
            for (index, k), prompt in product(enumerate(ks), material.prompts)
        },
        "chance": [short(chance_angle(k, run.attrs["width"])) if "width" in run.attrs else None for k in ks],
    }


SECTION = Section(
    name="angles",
    title="Angles between subspaces",
    how_to_read=(
        "How far the top K left and right singular subspaces of two blocks are turned from each other, in degrees: 0 "
        "where they are the same. The angle does not depend on the basis inside a subspace, so near-equal singular "
        "values do not blur it."
    ),
    data=_data,
    if_missing="Angles between blocks are drawn from a run of kind depth.",
    panels=(("left", "left subspaces (outputs)"), ("right", "right subspaces (inputs)")),
    needed=lambda material: any(is_depth(run) for run in material.runs),
    wide=True,
)
