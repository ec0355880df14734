"""The report's circle; test_browser draws it."""

from coupling.figures.page.circle import SECTION
from tests.figures.page.helpers import material


def test_a_circle_is_of_blocks(run, token_run):
    assert SECTION.data(material(run, token_run)) == [{}, None]
    assert SECTION.needed(material(token_run, run))
    assert not SECTION.needed(material(token_run))
