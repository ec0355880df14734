"""How one run looks on a terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coupling.cli.render.numbers import number, percent
from coupling.cli.render.text import plain
from coupling.presets import PRESETS
from coupling.untrusted import clean

TOKEN_MEASURES = {
    "line_shape_score": "line-shape score",
    "expodistance": "expodistance",
    "residual_growth": "residual growth",
}


def print_run(summary: dict[str, Any], console: Console, *, all_variants: bool = False) -> None:
    """Print scores, the strongest and weakest pairs, and the shape of the trajectories.

    Args:
        summary: what ``coupling.summarize`` returned.
        console: where it is printed.
        all_variants: print the signed and swapped variants as well, and the calibrated measures at every K.
    """
    _print_header(summary, console)
    console.print(_score_table(summary["scores"], summary["inputs"], all_variants=all_variants))
    _print_preset(summary, console)
    _print_calibrated(summary, console, all_ks=all_variants)
    _print_pairs(summary, console)
    _print_prompts(summary, console)
    if summary["tokens_left_out"]:
        console.print(f"measures of tokens: {summary['tokens_left_out']}", highlight=False, soft_wrap=True)
    for name, label in TOKEN_MEASURES.items():
        spread = summary["tokens"][name]
        console.print(
            f"{label:>16}: median {number(spread['median'])}, mean {number(spread['mean'])} "
            f"± {number(spread['sd'])} over {spread['tokens']} tokens",
            highlight=False,
            soft_wrap=True,
        )
    zero = summary["zero_blocks"]
    if zero:
        which = "all blocks" if len(zero) == summary["blocks"] else f"blocks {', '.join(map(str, zero))}"
        console.print(
            f"the Jacobians of {which} are zero: they add nothing, and no comparison with them counts",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if not summary["singular_values_converged"]:
        console.print(
            f"some singular vectors did not meet the tolerance; worst error bound "
            f"{summary['worst_relative_singular_value_error']:.1e} of the largest singular value",
            style="yellow",
        )


def _print_header(summary: dict[str, Any], console: Console) -> None:
    origin = summary["provenance"]
    facts = (
        f"{origin['architecture']}, {summary['blocks']} blocks, "
        f"{summary['prompts']} {summary['inputs']} ({origin.get('prompts', 'given')})",
        f"{origin.get('kind', 'depth')}",
        *([origin["measured_place"]] if "measured_place" in origin else []),
        f"{origin['dtype']} on {origin['device']}, {origin['linearization']}",
        f"{origin['engine']} SVD",
    )
    line = Text.assemble(plain(origin["model"], "bold"), " ", plain(", ".join(facts), most=2000))
    console.print(line, highlight=False, soft_wrap=True)


def _score_table(rows: list[dict[str, Any]], inputs: str, *, all_variants: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("K", "p", "score", f"± {inputs}", "chance", "excess"):
        table.add_column(column, justify="right")
    if all_variants:
        table.add_column("variant")
    for row in rows:
        if row["variant"] == "absolute" or all_variants:
            cells = [
                row["k_name"],
                str(row["norm"]),
                number(row["score"]),
                number(row["sd_over_prompts"]),
                number(row["chance"]),
                percent(row["excess"]),
            ]
            if all_variants:
                cells.append("" if row["variant"] == "absolute" else row["variant"])
            table.add_row(*cells)
    return table


def _print_preset(summary: dict[str, Any], console: Console) -> None:
    """What the preset of the run stands for, and the score that it is about."""
    preset = PRESETS.get(summary["provenance"].get("preset"))
    if preset is None:
        return
    (row,) = [row for row in summary["scores"] if row["norm"] == preset.norm and row["variant"] == "absolute"]
    console.print(
        f"preset {summary['provenance']['preset']}, {preset.meaning}: score {number(row['score'], 4)}, "
        f"chance {number(row['chance'], 4)}",
        highlight=False,
        soft_wrap=True,
    )


def _print_calibrated(summary: dict[str, Any], console: Console, *, all_ks: bool) -> None:
    """The calibrated measures, at the largest K or at all."""
    rows = summary["calibrated"]
    if not rows:
        return
    largest = max(row["k"] for row in rows)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("K", justify="right")
    table.add_column("measure")
    for column in ("value", f"± {summary['inputs']}", "chance", "z"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["k"] == largest or all_ks:
            table.add_row(
                row["k_name"],
                row["label"],
                number(row["value"]),
                number(row["sd_over_prompts"]),
                number(row["chance"]),
                number(row["z"], 1),
            )
    console.print(table)


def _print_pairs(summary: dict[str, Any], console: Console) -> None:
    depth = summary["provenance"].get("kind", "depth") == "depth"
    k = max(row["k"] for row in summary["scores"])
    what = "block pairs" if depth else "blocks"
    for label in ("strongest", "weakest"):
        pairs = [f"{_pair(pair, depth)} {number(pair['coupling'])}" for pair in summary[label]]
        console.print(f"{label:>9} {what} (K = {k}, p = 2):  {',  '.join(pairs)}", highlight=False, soft_wrap=True)


def _print_prompts(summary: dict[str, Any], console: Console) -> None:
    """The excess by category with its interval, and how many prompts some standard errors take."""
    categories = summary["categories"]
    if len(categories) > 1:
        parts = [f"{clean(row['category'], 40)} {percent(row['excess'])}{_margin(row)}" for row in categories]
        console.print(Text(f"excess by category (95%): {',  '.join(parts)}"), highlight=False, soft_wrap=True)
    needed = summary["prompt_count"]["needed"]
    if needed:
        parts = [f"{percent(row['standard_error'])} takes {row['prompts']}" for row in needed]
        console.print(
            f"standard error of the excess (bootstrap): {', '.join(parts)} {summary['inputs']}",
            highlight=False,
            soft_wrap=True,
        )


def _margin(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f" ± {100 * (row['high'] - row['excess']):.1f}%"


def _pair(pair: dict[str, Any], depth: bool) -> str:
    if depth or pair["block"] != pair["other_block"]:
        return f"{pair['block']}→{pair['other_block']}"
    return str(pair["block"])
