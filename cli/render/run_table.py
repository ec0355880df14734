"""How many runs look on a terminal: one row for each, and no number that is cut."""

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coupling.cli.render.numbers import number, percent
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
        "score": lambda row: number(row["score"]),
        "chance": lambda row: number(row["chance"]),
        "excess": _excess,
        "diagonal share": lambda row: percent(_or_none(row["diagonal_share"])),
        "line shape": lambda row: number(_or_none(row["line_shape_score"])),
    }
    rows = table.to_dict("records")
    cells = {title: [str(cell(row)) for row in rows] for title, cell in columns.items() if title not in shared}
    cells = {title: texts for title, texts in cells.items() if set(texts) != {"-"}}
    names = [plain(row["run"] + (" (random weights)" if row["weights"] == "random" else "")) for row in rows]
    width = sum(max(map(len, [title, *texts])) + 3 for title, texts in cells.items())
    if width + max(len(name.plain) for name in names) + 4 <= console.width:
        console.print(_table(names, cells))
    else:  # a list, since a table would lose names or numbers
        for index, name in enumerate(names):
            console.print(name, soft_wrap=True)
            for title, texts in cells.items():
                console.print(f"  {title:>15}  {texts[index]}", highlight=False, soft_wrap=True)
    words = {"kind": "kind {}", "k": "K = {}", "norm": "p = {}"}
    said = ", ".join(words[name].format(value) for name, value in shared.items())
    console.print(
        f"{said}{': ' if said else ''}excess over chance with its standard error over {inputs}",
        highlight=False,
        soft_wrap=True,
    )


def _table(names: list[Text], cells: dict[str, list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("run")
    for title in cells:
        table.add_column({"k": "K"}.get(title, title), justify="right", no_wrap=True)
    for index, name in enumerate(names):
        table.add_row(name, *(texts[index] for texts in cells.values()))
    return table


def _excess(row: dict[str, Any]) -> str:
    error = _or_none(row["excess_se"])
    return percent(_or_none(row["excess"])) + ("" if error is None else f" ± {100 * error:.1f}%")


def _or_none(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
