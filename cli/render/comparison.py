"""How a comparison of two runs looks on a terminal."""

from typing import Any

from rich.console import Console

from coupling.cli.render.numbers import figures, p_value, percent, points
from coupling.cli.render.rows import print_rows_of
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
    for place, name in enumerate(names, 1):
        console.print(plain(f"{place}: {name}", "bold"), soft_wrap=True)
    inputs = comparison["inputs"]
    shared = comparison["shared_prompts"]
    paired = comparison["same_prompts"] or shared
    how = f"paired by {inputs[:-1]}" if paired else f"of two samples of {inputs}"
    console.print(f"excess over chance; the difference 2 - 1 in points of percent, with its standard error {how}")
    rows = [row for row in comparison["scores"] if row["variant"] == "absolute"]
    cells = {
        "excess 1": [percent(row["first"]["excess"]) for row in rows],
        "excess 2": [percent(row["second"]["excess"]) for row in rows],
        "points": [points(row["excess_difference"], sign=True) for row in rows],
        "± s.e.": [points(row["excess_standard_error"]) for row in rows],
        "p-value": [p_value(row["excess_p"]) for row in rows],
        "score 1": [figures(row["first"]["score"]) for row in rows],
        "score 2": [figures(row["second"]["score"]) for row in rows],
    }
    print_rows_of([plain(f"K = {row['k']}, p = {row['norm']}") for row in rows], cells, console, heading="")
    _print_calibrated(comparison["calibrated"], console)
    if comparison["largest_pair_difference"] is not None:
        console.print(f"largest difference of a pair's mismatch: {comparison['largest_pair_difference']:.2g}")
    if shared:
        console.print(f"The {inputs} differ; all numbers are of the {shared} that both runs measured.", style="yellow")
    elif not comparison["same_prompts"]:
        console.print(
            f"The {inputs} differ, so the scores cannot be compared {inputs[:-1]} by {inputs[:-1]}.", style="yellow"
        )
    for key, (first, second) in comparison["provenance"].items():
        console.print(plain(f"{key}: {clean(first, MOST)} | {clean(second, MOST)}", most=None), highlight=False)


def _print_calibrated(rows: list[dict[str, Any]], console: Console) -> None:
    """The calibrated measures of both runs."""
    if not rows:
        return
    cells = {
        "1": [figures(row["first"]["value"]) for row in rows],
        "2": [figures(row["second"]["value"]) for row in rows],
        "difference": [figures(row["difference"], sign=True) for row in rows],
        "± s.e.": [figures(row["standard_error"], 2) for row in rows],
        "z 1": [figures(row["first"]["z"]) for row in rows],
        "z 2": [figures(row["second"]["z"]) for row in rows],
    }
    several = len({row["k"] for row in rows}) > 1
    names = [plain(row["label"] + (f", K = {row['k']}" if several else "")) for row in rows]
    print_rows_of(names, cells, console, heading="measure")
