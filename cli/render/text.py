"""Text from outside, such as a model's or a column's name, as rich prints it on any console: as it is."""

from rich.text import Text

from coupling.untrusted import clean

MOST_IN_CELL = 200
"""The most characters of one name."""


def plain(value: object, style: str = "", most: int | None = MOST_IN_CELL) -> Text:
    """A value as a text in which nothing is markup, and control characters are visible.

    Example:
        >>> plain("[red]a[/]").plain
        '[red]a[/]'
    """
    return Text(clean(value, most), style=style)
