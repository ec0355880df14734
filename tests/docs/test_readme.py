"""The README is short, and the tables that it and the first guide show are what the command prints."""

import re

import pytest

import coupling
from coupling.summary import summarize
from tests.docs.code_blocks import all_blocks
from tests.docs.pages import ROOT

LONGEST = 130
NUMBER = re.compile(r"\d+\.\d+%?")
SAME, SAME_PERCENT = 0.0015, 0.11
"""How far a number may be off on another processor: one in its last decimal."""


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.fixture(scope="module")
def printed():
    """What `make demo` prints."""
    from io import StringIO

    from rich.console import Console

    from coupling.cli.render.run import print_run

    screen = StringIO()
    print_run(summarize(coupling.analyze(k=(5, 10))), Console(file=screen, width=100))
    return [line.rstrip() for line in screen.getvalue().strip().splitlines()]


def test_the_table_of_the_readme_is_the_one_that_was_printed_with_the_pictures():
    (block,) = [block for block in all_blocks("text") if block.document == "README.md"]
    assert block.text == (ROOT / "docs/pictures/smollm2.txt").read_text(encoding="utf-8")


def test_the_printed_table(printed):
    (block,) = [block for block in all_blocks("text") if block.document == "docs/get-started.md"]
    shown = block.text.rstrip().splitlines()
    assert [NUMBER.sub("#", line) for line in shown] == [NUMBER.sub("#", line) for line in printed]
    for mine, theirs in zip(shown, printed, strict=True):
        for stated, measured in zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True):
            allowed = SAME_PERCENT if stated.endswith("%") else SAME
            assert float(stated.rstrip("%")) == pytest.approx(float(measured.rstrip("%")), rel=1e-4, abs=allowed)
