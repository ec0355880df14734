"""Rows of named things: a table where there is room, a list where there is none, and never a number that is cut."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from coupling.cli.render.rows import print_rows_of, print_table
from coupling.cli.render.text import plain

NAMES = [plain("runs/one"), plain("runs/two-with-a-long-name")]
CELLS = {"score": ["0.0411", "0.123"], "excess over chance": ["3.3% ± 0.4%", "10.5% ± 0.2%"]}


def printed(width):
    console = Console(file=io.StringIO(), width=width)
    print_rows_of(NAMES, CELLS, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_no_text_is_cut(width):
    text = printed(width)
    for part in (*(name.plain for name in NAMES), *(cell for texts in CELLS.values() for cell in texts)):
        assert part in text


def test_a_list_takes_the_place_of_a_table_that_does_not_fit():
    assert "─" in printed(80)
    narrow = printed(50)
    assert "─" not in narrow
    assert "              score  0.0411" in narrow
    assert max(map(len, narrow.splitlines())) <= 50


def test_titles_may_repeat_and_are_kept():
    table = Table(title="several")
    for title in ("measure", "p", "p"):
        table.add_column(title)
    table.add_row(plain("a"), "0.001", "0.002")
    console = Console(file=io.StringIO(), width=12)
    print_table(table, console, heading_in_list=True)
    assert console.file.getvalue().splitlines() == ["several", "measure a", "  p  0.001", "  p  0.002"]
