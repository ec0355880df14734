"""How many runs look on a terminal: one row for each, and no number that is cut."""

from typing import Any

import pandas as pd
from rich.console import Console

from coupling.cli.render.numbers import figures, percent, percent_with_error
from coupling.cli.render.rows import print_rows_of
from coupling.cli.render.text import plain


def print_run_table(table: pd.DataFrame, console: Console) -> None:
    """Print the table of ``coupling.run_table``; what is the same for all runs is said once, below it.

    Args:
        table: with its columns.
        console: where it is printed.
    """
    shared = {name: table[name].iloc[0] for name in ("kind", "k", "norm") if table[name].nunique() == 1}
    inputs = table.attrs.get("inputs", "prompts")
    columns = {
        "kind": lambda row: plain(row["kind"]),
        "k": lambda row: str(row["k"]),
        inputs: lambda row: str(row["prompts"]),
        "blocks": lambda row: str(row["blocks"]),
        "excess": _excess,
        "score": lambda row: figures(row["score"]),
        "chance": lambda row: figures(row["chance"]),
        "diagonal share": lambda row: percent(_or_none(row["diagonal_share"])),
        "line shape": lambda row: figures(_or_none(row["line_shape_score"])),
    }
    rows = table.to_dict("records")
    cells = {title: [str(cell(row)) for row in rows] for title, cell in columns.items() if title not in shared}
    cells = {title: texts for title, texts in cells.items() if set(texts) != {"-"}}
    names = [plain(row["run"] + (" (random weights)" if row["weights"] == "random" else "")) for row in rows]
    print_rows_of(names, {"K" if title == "k" else title: texts for title, texts in cells.items()}, console)
    words = {"kind": "kind {}", "k": "K = {}", "norm": "p = {}"}
    said = ", ".join(words[name].format(value) for name, value in shared.items())
    console.print(
        f"{said}{': ' if said else ''}excess over chance with its standard error over {inputs}",
        highlight=False,
        soft_wrap=True,
    )


def _excess(row: dict[str, Any]) -> str:
    return percent_with_error(_or_none(row["excess"]), _or_none(row["excess_se"]))


def _or_none(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
