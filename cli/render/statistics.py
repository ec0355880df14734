"""Lines, tables and numbers of statistics on a terminal."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coupling.cli.render.numbers import figures, number
from coupling.cli.render.text import plain


def line(text: str | Text, console: Console, style: str = "") -> None:
    """A line of text that the terminal wraps, without the colors that rich gives to numbers."""
    content = text if isinstance(text, Text) else plain(text, style, most=2000)
    console.print(content, highlight=False, soft_wrap=True)


def table_of(first: str, columns: Sequence[str], title: str | None = None) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else plain(title),
        title_justify="left",
        title_style="",
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(plain(column), justify="right")
    return table


def interval(bounds: list[float] | None, form: Callable[[float], str] = number) -> str:
    """Two bounds, or a dash."""
    return "-" if bounds is None else f"{form(bounds[0])} to {form(bounds[1])}"


def short_interval(bounds: list[float] | None) -> str:
    """Two bounds between 0 and 1, in few characters, or a dash."""
    return "-" if bounds is None else f"{bounds[0]:.2f}–{bounds[1]:.2f}"


def two_digits(value: float) -> str:
    """A number with two digits after the point."""
    return number(value, 2)


def three_figures(value: float | None) -> str:
    """A number of any size, with three significant figures."""
    return figures(value)
