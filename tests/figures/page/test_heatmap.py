"""The report's section ``heatmap``; test_browser draws it."""

from coupling.figures.page.heatmap import SECTION
from tests.figures.page.helpers import material


def test_every_run_has_a_chart(run, token_run):
    both = material(run, token_run)
    assert SECTION.needed(both)
    assert SECTION.data(both) == [{}, {}]
