"""Rows of named things on a terminal: as a table where it fits, and as a list where a table would cut something."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000
"""Columns of a terminal on which every table fits."""


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
    """Print a table; where the terminal is too narrow for it, a list that has its cells in full.

    Args:
        table: its first column names the rows.
        console: where it is printed.
        heading_in_list: repeat the title of the first column before each name of a list.
    """
    if Measurement.get(console, console.options.update(max_width=UNLIMITED), table).maximum <= console.width:
        console.print(table)
        return
    if table.title is not None:
        console.print(table.title, soft_wrap=True)
    first, *others = table.columns
    longest = max((len(str(column.header)) for column in others), default=0)
    rows = zip(*(list(column.cells) for column in table.columns), strict=True)
    for name, *texts in rows:
        prefix = f"{first.header} " if heading_in_list else ""
        console.print(Text.assemble(prefix, name if isinstance(name, Text) else str(name)), soft_wrap=True)
        for column, text in zip(others, texts, strict=True):
            console.print(f"  {column.header!s:>{longest}}  {text}", highlight=False, soft_wrap=True)
