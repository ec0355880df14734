"""How one run looks on a terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

from coupling.cli.render.numbers import figures, percent_with_error
from coupling.cli.render.rows import print_rows_of
from coupling.cli.render.text import plain
from coupling.facts import counted
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
    _print_scores(summary["scores"], summary["inputs"], console, all_variants=all_variants)
    _print_preset(summary, console)
    _print_calibrated(summary, console, all_ks=all_variants)
    _print_pairs(summary, console)
    _print_prompts(summary, console)
    if summary["tokens_left_out"]:
        depth = summary["provenance"].get("kind", "depth") == "depth"
        of = "measures of tokens" if depth else "all of these numbers"
        console.print(f"{of}: {summary['tokens_left_out']}", highlight=False, soft_wrap=True)
    for name, label in TOKEN_MEASURES.items():
        spread = summary["tokens"][name]
        console.print(
            f"{label:>16}: median {figures(spread['median'])}, mean {figures(spread['mean'])} "
            f"± {figures(spread['sd'])} over {counted(spread['tokens'], 'token')}",
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
    facts = Text.assemble(plain(origin["model"], "bold"), " ", plain(", ".join(summary["facts"]), most=2000))
    console.print(facts, soft_wrap=True)
    how = f"{origin['dtype']} on {origin['device']}, {origin['linearization']}, {origin['engine']} SVD"
    console.print(plain(how), soft_wrap=True)
    row = [row for row in summary["scores"] if (row["norm"], row["variant"]) == (2, "absolute")][-1]
    found = percent_with_error(row["excess"], row["excess_se"])
    error = f", ± standard error over {summary['inputs']}" if row["excess_se"] is not None else ""
    console.print(f"excess over chance {found} (K = {row['k_name']}, p = 2{error})", style="bold", soft_wrap=True)


def _print_scores(rows: list[dict[str, Any]], inputs: str, console: Console, *, all_variants: bool) -> None:
    """Excess, score and chance level at every K and p."""
    rows = [row for row in rows if row["variant"] == "absolute" or all_variants]
    excesses = [_excess_cells(row) for row in rows]
    cells = {
        "p": [str(row["norm"]) for row in rows],
        "excess": [excess for excess, _ in excesses],
        "± s.e.": [error for _, error in excesses],
        "score": [figures(row["score"]) for row in rows],
        f"± {inputs}": [figures(row["sd_over_prompts"], 2) for row in rows],
        "chance": [figures(row["chance"]) for row in rows],
    }
    if all_variants:
        cells["variant"] = [row["variant"] for row in rows]
    print_rows_of([plain(row["k_name"]) for row in rows], cells, console, heading="K", heading_in_list=True)


def _excess_cells(row: dict[str, Any]) -> tuple[str, str]:
    """The excess and its standard error, with as many digits as the error has."""
    value, _, error = percent_with_error(row["excess"], row["excess_se"]).partition(" ± ")
    return value, error or "-"


def _print_preset(summary: dict[str, Any], console: Console) -> None:
    """What the preset of the run stands for, and the score that it is about."""
    preset = PRESETS.get(summary["provenance"].get("preset"))
    if preset is None:
        return
    (row,) = [row for row in summary["scores"] if row["norm"] == preset.norm and row["variant"] == "absolute"]
    console.print(
        f"preset {summary['provenance']['preset']}, {preset.meaning}: score {figures(row['score'], 4)}, "
        f"chance {figures(row['chance'], 4)}",
        highlight=False,
        soft_wrap=True,
    )


def _print_calibrated(summary: dict[str, Any], console: Console, *, all_ks: bool) -> None:
    """The calibrated measures, at the largest K or at all."""
    rows = summary["calibrated"]
    if not rows:
        return
    largest = max(row["k"] for row in rows)
    rows = [row for row in rows if row["k"] == largest or all_ks]
    cells = {
        "K": [row["k_name"] for row in rows],
        "value": [figures(row["value"]) for row in rows],
        f"± {summary['inputs']}": [figures(row["sd_over_prompts"], 2) for row in rows],
        "chance": [figures(row["chance"]) for row in rows],
        "z": [figures(row["z"]) for row in rows],
    }
    print_rows_of([plain(row["label"]) for row in rows], cells, console, heading="measure")


def _print_pairs(summary: dict[str, Any], console: Console) -> None:
    depth = summary["provenance"].get("kind", "depth") == "depth"
    k = max(row["k"] for row in summary["scores"])
    what = "block pairs" if depth else "blocks"
    for label in ("strongest", "weakest"):
        pairs = [f"{_pair(pair, depth)} {figures(pair['coupling'])}" for pair in summary[label]]
        console.print(f"{label:>9} {what} (K = {k}, p = 2):  {',  '.join(pairs)}", highlight=False, soft_wrap=True)


def _print_prompts(summary: dict[str, Any], console: Console) -> None:
    """The excess by category with its interval, and how many prompts some standard errors take."""
    categories = summary["categories"]
    if len(categories) > 1:
        parts = [f"{clean(row['category'], 40)} {_with_margin(row)}" for row in categories]
        console.print(Text(f"excess by category (95%): {',  '.join(parts)}"), highlight=False, soft_wrap=True)
    needed = summary["prompt_count"]["needed"]
    if needed:
        parts = [f"{100 * row['standard_error']:g}% takes {row['prompts']}" for row in needed]
        console.print(
            f"standard error of the excess (bootstrap): {', '.join(parts)} {summary['inputs']}",
            highlight=False,
            soft_wrap=True,
        )


def _with_margin(row: dict[str, Any]) -> str:
    """The excess of a category, and half of its 95% interval."""
    return percent_with_error(row["excess"], None if row["low"] is None else row["high"] - row["excess"])


def _pair(pair: dict[str, Any], depth: bool) -> str:
    if depth or pair["block"] != pair["other_block"]:
        return f"{pair['block']}→{pair['other_block']}"
    return str(pair["block"])
