"""The report's difference of runs; test_browser draws it."""

from coupling.figures.page.difference import SECTION
from tests.figures.page.helpers import material


def test_runs_with_the_same_blocks_are_subtracted(run, untrained, token_run):
    assert SECTION.data(material(run, untrained, token_run, run.isel(block=slice(4)))) == [None, {}, None, None]
    assert not SECTION.needed(material(run))
    assert not SECTION.needed(material(token_run, run))
