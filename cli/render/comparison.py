"""How a comparison of two runs looks on a terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from coupling.cli.render.numbers import number, p_value, percent, points
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
    for place, name in enumerate(names, 1):
        console.print(plain(f"{place}: {name}", "bold"), soft_wrap=True)
    inputs = comparison["inputs"]
    how = f"paired by {inputs[:-1]}" if comparison["same_prompts"] else f"of two samples of {inputs}"
    console.print(f"excess over chance; the difference 2 - 1 in points of percent, with its standard error {how}")
    for column in ("K", "p", "excess 1", "excess 2", "points", "± s.e.", "p-value", "score 1", "score 2"):
        table.add_column(column, justify="right")
    for row in comparison["scores"]:
        if row["variant"] == "absolute":
            table.add_row(
                str(row["k"]),
                str(row["norm"]),
                percent(row["first"]["excess"]),
                percent(row["second"]["excess"]),
                points(row["excess_difference"], sign=True),
                points(row["excess_standard_error"]),
                p_value(row["excess_p"]),
                number(row["first"]["score"]),
                number(row["second"]["score"]),
            )
    console.print(table)
    _print_calibrated(comparison["calibrated"], console)
    if comparison["largest_pair_difference"] is not None:
        console.print(f"largest difference of a pair's mismatch: {comparison['largest_pair_difference']:.2g}")
    if not comparison["same_prompts"]:
        console.print(
            f"The {inputs} differ, so the scores cannot be compared {inputs[:-1]} by {inputs[:-1]}.", style="yellow"
        )
    for key, (first, second) in comparison["provenance"].items():
        console.print(plain(f"{key}: {clean(first, MOST)} | {clean(second, MOST)}", most=None), highlight=False)


def _print_calibrated(rows: list[dict[str, Any]], console: Console) -> None:
    """The calibrated measures of both runs."""
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("K", justify="right")
    table.add_column("measure")
    for column in ("1", "2", "difference", "± s.e.", "z 1", "z 2"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["k"]),
            row["label"],
            number(row["first"]["value"]),
            number(row["second"]["value"]),
            number(row["difference"], 4, sign=True),
            number(row["standard_error"], 4),
            number(row["first"]["z"], 1),
            number(row["second"]["z"], 1),
        )
    console.print(table)
