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


@pytest.mark.parametrize("width", range(20, 121, 3))
def test_no_number_is_cut_and_no_name_is_lost(width):
    text = printed(width)
    for cell in (cell for texts in CELLS.values() for cell in texts):
        assert cell in text
    if "─" in text:
        assert max(map(len, text.splitlines())) <= width
    else:
        assert NAMES[1].plain in text


def test_a_table_that_does_not_fit_is_made_denser_before_it_is_a_list():
    wide, dense, narrow = printed(80), printed(36), printed(35)
    assert wide.splitlines()[1].split() == ["run", "score", "excess", "over", "chance"]
    titles, rows = dense.split("─", 1)
    assert [line.split() for line in titles.splitlines()] == [["excess"], ["over"], ["run", "score", "chance"]]
    assert [line.split() for line in rows.splitlines()[2:4]] == [
        ["runs/two-with-", "0.123", "10.5%", "±", "0.2%"],
        ["a-long-name"],
    ]
    assert "─" not in narrow
    assert "              score  0.0411" in narrow


def test_the_titles_of_a_list_are_on_one_line():
    assert "  excess over chance  3.3% ± 0.4%" in printed(20)


def test_titles_may_repeat_and_are_kept():
    table = Table(title="several")
    for title in ("measure", "p", "p"):
        table.add_column(title)
    table.add_row(plain("a"), "0.001", "0.002")
    console = Console(file=io.StringIO(), width=12)
    print_table(table, console, heading_in_list=True)
    assert console.file.getvalue().splitlines() == ["several", "measure a", "  p  0.001", "  p  0.002"]
