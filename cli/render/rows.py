"""Rows of named things on a terminal: as a table where it fits, and as a list where a table would cut something."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


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
        heading_in_list: repeat it before each name of a list.
    """
    width = sum(max(map(len, [title, *texts])) + 3 for title, texts in cells.items())
    if width + max(len(name.plain) for name in names) + 4 <= console.width:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column(heading)
        for title in cells:
            table.add_column(title, justify="right", no_wrap=True)
        for index, name in enumerate(names):
            table.add_row(name, *(texts[index] for texts in cells.values()))
        console.print(table)
        return
    longest = max(map(len, cells), default=0)
    for index, name in enumerate(names):
        console.print(Text.assemble(f"{heading} " if heading_in_list else "", name), soft_wrap=True)
        for title, texts in cells.items():
            console.print(f"  {title:>{longest}}  {texts[index]}", highlight=False, soft_wrap=True)
