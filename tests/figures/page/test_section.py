"""What sections are made from."""

import coupling
from coupling.figures.page.section import MEAN
from tests.figures.page.helpers import material


def test_the_material_of_two_runs(run, untrained):
    both = material(run, untrained, prompts=2)
    assert both.names == ["bundled", "bundled (random weights)"]
    assert both.prompts == [MEAN, 0, 1]
    assert both.summaries[1]["scores"] == coupling.summarize(untrained)["scores"]
