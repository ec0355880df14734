"""How a comparison of two runs looks on a terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from coupling.cli.render.numbers import number, percent
from coupling.cli.render.text import plain
from coupling.untrusted import clean

MOST = 500
"""The most characters of one attribute."""


def print_comparison(comparison: dict[str, Any], names: tuple[str, str], console: Console) -> None:
    """Print two runs side by side.

    Args:
        comparison: what ``coupling.compare_runs`` returned.
        names: what the runs are called.
        console: where it is printed.
    """
    if comparison["identical"]:
        console.print("The two runs contain the same numbers.")
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("K", "p", plain(names[0]), plain(names[1]), "difference", "± s.e.", "excess 1", "excess 2"):
        table.add_column(column, justify="right")
    for row in comparison["scores"]:
        if row["variant"] == "absolute":
            table.add_row(
                str(row["k"]),
                str(row["norm"]),
                number(row["first"]["score"]),
                number(row["second"]["score"]),
                number(row["difference"], 4, sign=True),
                number(row["standard_error"], 4),
                percent(row["first"]["excess"]),
                percent(row["second"]["excess"]),
            )
    console.print(table)
    if comparison["largest_pair_difference"] is not None:
        console.print(f"largest difference of a pair's mismatch: {comparison['largest_pair_difference']:.2g}")
    if not comparison["same_prompts"]:
        inputs = comparison["inputs"]
        console.print(
            f"The {inputs} differ, so the scores cannot be compared {inputs[:-1]} by {inputs[:-1]}.", style="yellow"
        )
    for key, (first, second) in comparison["provenance"].items():
        console.print(plain(f"{key}: {clean(first, MOST)} | {clean(second, MOST)}", most=None), highlight=False)
