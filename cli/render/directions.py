"""How the singular directions of blocks look on a terminal."""

from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from coupling.cli.render.numbers import number
from coupling.cli.render.text import plain

DOES = {"left": "writes", "right": "reads"}
"""What a block does with the vectors of a side."""
WIDEST_TOKEN, WIDEST_PATCH = 24, 80


def print_directions(table: pd.DataFrame, console: Console) -> None:
    """Print each vector's tokens or patches, and the blocks that share it.

    Args:
        table: of ``coupling.directions``.
        console: where it is printed.
    """
    facts = table.attrs
    is_text = facts["items"] == "tokens"
    where = f"at token {facts['token']}" + (f" {item(facts['token_text'], is_text)}" if facts["token_text"] else "")
    which = f", {'prompt' if is_text else 'image'} {facts['prompt']} ("
    parts = plain(facts["model"], "bold"), which, plain(facts["text"], most=60), f") {where}"
    console.print(Text.assemble(*parts), highlight=False, soft_wrap=True)
    previous = None
    for row in table.to_dict("records"):
        place = row["block"], row["side"]
        if place != previous:
            console.print(Text(f"\nblock {row['block']} {DOES[row['side']]}", style="bold"), highlight=False)
        previous = place
        line = f"  {row['rank']}  s {number(row['singular_value'], 2)}, nearest {_nearest(row)}"
        style = "green" if row["shared"] else ""
        console.print(Text(line + _shared(row), style=style), highlight=False, soft_wrap=True)
        for end in ("toward", "against"):
            items = "  ".join(item(one, is_text) for one in row[end])
            console.print(Text(f"     {end:>7}  {items}"), highlight=False, soft_wrap=True)
    console.print(
        f"\nshared: an absolute cosine of at least {facts['shared_above']:.3f} with a vector of the same side of "
        f"another of these blocks; random vectors reach it in any of {facts['comparisons']} comparisons with "
        "probability 0.01",
        highlight=False,
        soft_wrap=True,
    )


def item(text: str, is_text: bool = True) -> str:
    """A token with its spaces and line ends made visible, or the name of a patch."""
    visible = text.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥") if is_text else text
    return plain(visible, most=WIDEST_TOKEN if is_text else WIDEST_PATCH).plain


def _nearest(row: dict[str, Any]) -> str:
    """The vector of another block that is most nearly parallel, such as ``16:0 (+0.83)``."""
    if pd.isna(row["cosine"]):
        return "-"
    return f"{row['nearest_block']:.0f}:{row['nearest_rank']:.0f} ({number(row['cosine'], 2, sign=True)})"


def _shared(row: dict[str, Any]) -> str:
    """The blocks that share a vector, in words; empty for none."""
    blocks = row["shared_blocks"]
    return f", shared with block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}" if blocks else ""
