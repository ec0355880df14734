"""The report's table of singular directions: what each reads as, and which blocks share it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from coupling.figures.style import printable

DOES = {"left": "writes", "right": "reads"}
"""What a block does with the vectors of a side."""
WIDEST_TOKEN, WIDEST_PATCH, WIDEST_TEXT = 24, 80, 120


def direction_tables(tables: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """The tables of ``coupling.directions`` as texts that the page shows.

    Args:
        tables: one for each run that has one.
    """
    return [_table(table) for table in tables]


def _table(table: pd.DataFrame) -> dict[str, Any]:
    facts = table.attrs
    is_text = facts["items"] == "tokens"
    where = f"token {facts['token']}"
    if facts["token_text"]:
        where += f" ({_item(facts['token_text'], is_text)})"
    return {
        "name": printable(facts["model"].rstrip("/").split("/")[-1], 60),
        "input": f"{'prompt' if is_text else 'image'} {facts['prompt']}: {printable(facts['text'], WIDEST_TEXT)}",
        "where": where,
        "threshold": f"{facts['shared_above']:.3f}",
        "comparisons": facts["comparisons"],
        "rows": [_row(row, is_text) for row in table.to_dict("records")],
    }


def _row(row: dict[str, Any], is_text: bool) -> dict[str, Any]:
    nearest = ""
    if not pd.isna(row["cosine"]):
        nearest = f"{row['nearest_block']:.0f}:{row['nearest_rank']:.0f} ({row['cosine']:+.2f})"
    return {
        "block": row["block"],
        "does": DOES[row["side"]],
        "rank": row["rank"],
        "value": f"{row['singular_value']:.2f}",
        "toward": [_item(one, is_text) for one in row["toward"]],
        "against": [_item(one, is_text) for one in row["against"]],
        "nearest": nearest,
        "shared": ", ".join(map(str, row["shared_blocks"])),
    }


def _item(text: str, is_text: bool) -> str:
    return printable(text, WIDEST_TOKEN, blank="·") if is_text else printable(text, WIDEST_PATCH)
