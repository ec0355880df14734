"""Rows of named things on a terminal: as a table where it fits, and as a list where even a dense table would not."""

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

UNLIMITED = 10_000
"""Columns of a terminal on which every table fits."""
NARROWEST_NAME = 14
"""The fewest columns in which the names of a table's rows are broken into lines."""


def print_rows_of(
    names: Sequence[Text],
    cells: Mapping[str, Sequence[str]],
    console: Console,
    heading: str = "run",
    *,
    heading_in_list: bool = False,
) -> None:
    """Print one row for each name.

    Args:
        names: what the rows are called.
        cells: the texts of each column, by its title.
        console: where they are printed.
        heading: the title of the names.
        heading_in_list: see ``print_table``.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(heading)
    for title in cells:
        table.add_column(title, justify="right", no_wrap=True)
    for index, name in enumerate(names):
        table.add_row(name, *(texts[index] for texts in cells.values()))
    print_table(table, console, heading_in_list=heading_in_list)


def print_table(table: Table, console: Console, *, heading_in_list: bool = False) -> None:
    """Print a table; where the terminal is too narrow for it, a denser one, or a list that has its cells in full.

    Args:
        table: its first column names the rows.
        console: where it is printed.
        heading_in_list: repeat the title of the first column before each name of a list.
    """
    if _width(table, console) > console.width:
        _condense(table)
        names = table.columns[0]
        rest = _width(table, console) - _widest(names)
        if rest + NARROWEST_NAME > console.width:
            _print_list(table, console, heading_in_list=heading_in_list)
            return
        names.max_width = max(console.width - rest, NARROWEST_NAME)
        console.print(table)
        console.print()
        return
    console.print(table)


def _width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=UNLIMITED), table).maximum


def _widest(column: Column) -> int:
    return max(Text(str(cell)).cell_len for cell in (column.header, *column.cells))


def _condense(table: Table) -> None:
    """Narrow gaps between columns, titles of several lines, and names that may be broken."""
    table.padding = (0, 1, 0, 0)
    table.pad_edge = table.show_edge = False
    for column in table.columns:
        column.header = Text(re.sub(r"(?<=\w{3}) ", "\n", str(column.header)))
    table.columns[0].overflow = "fold"


def _print_list(table: Table, console: Console, *, heading_in_list: bool) -> None:
    """Each row as a paragraph: its name, and one line for each cell."""
    if table.title is not None:
        console.print(table.title, soft_wrap=True)
    first, *others = table.columns
    titles = [" ".join(str(column.header).split()) for column in others]
    longest = max(map(len, titles), default=0)
    rows = zip(*(list(column.cells) for column in table.columns), strict=True)
    for name, *texts in rows:
        prefix = " ".join(str(first.header).split()) + " " if heading_in_list else ""
        console.print(Text.assemble(prefix, name if isinstance(name, Text) else str(name)), soft_wrap=True)
        for title, text in zip(titles, texts, strict=True):
            console.print(f"  {title:>{longest}}  {text}", highlight=False, soft_wrap=True)
