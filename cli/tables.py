"""How a run looks on a terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

VARIANT_NAMES = {"absolute": "", "signed": "signed", "swapped": "swapped", "swapped signed": "swapped, signed"}


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number of fixed digits; a dash where there is none."""
    return "-" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def print_run(summary: dict[str, Any], console: Console, *, all_variants: bool = False) -> None:
    """The short table: scores, strongest and weakest pairs, shape of the trajectories."""
    where = summary["provenance"]
    depth = where.get("kind", "depth") == "depth"
    console.print(
        f"[bold]{escape(str(where['model']))}[/] {where['architecture']}, {summary['blocks']} blocks, "
        f"{summary['prompts']} prompts ({escape(str(where.get('prompts', 'given')))}), {where.get('kind', 'depth')}, "
        f"{where['dtype']} on {where['device']}, {where['linearization']}, {where['engine']} SVD",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("K", "p", "score", "± prompts", "chance", "excess"):
        table.add_column(column, justify="right")
    if all_variants:
        table.add_column("variant")
    for row in summary["scores"]:
        if row["variant"] == "absolute" or all_variants:
            cells = [str(row["k"]), str(row["norm"]), number(row["score"]), number(row["sd_over_prompts"]),
                     number(row["chance"]), percent(row["excess"])]  # fmt: skip
            table.add_row(*cells, *([VARIANT_NAMES[row["variant"]]] if all_variants else []))
    console.print(table)
    k = max(row["k"] for row in summary["scores"])
    what = "block pairs" if depth else "blocks"
    for label in ("strongest", "weakest"):
        pairs = [f"{_pair(pair, depth)} {number(pair['coupling'])}" for pair in summary[label]]
        console.print(f"{label:>9} {what} (K = {k}, p = 2):  {',  '.join(pairs)}", highlight=False, soft_wrap=True)
    for name, label in (("line_shape_score", "line-shape score"), ("expodistance", "expodistance"),
                        ("residual_growth", "residual growth")):  # fmt: skip
        spread = summary["tokens"][name]
        console.print(
            f"{label:>16}: median {number(spread['median'])}, mean {number(spread['mean'])} "
            f"± {number(spread['sd'])} over {spread['tokens']} tokens", highlight=False, soft_wrap=True,
        )  # fmt: skip
    if not summary["singular_values_converged"]:
        console.print(
            f"[yellow]some singular vectors did not meet the tolerance; worst error bound "
            f"{summary['worst_relative_singular_value_error']:.1e} of the largest singular value[/]"
        )


def percent(value: float | None) -> str:
    """A share in percent."""
    return "-" if value is None else f"{100 * value:.1f}%"


def _pair(pair: dict[str, Any], depth: bool) -> str:
    if depth or pair["block"] != pair["other_block"]:
        return f"{pair['block']}→{pair['other_block']}"
    return str(pair["block"])


def print_comparison(comparison: dict[str, Any], names: tuple[str, str], console: Console) -> None:
    """Two runs side by side."""
    if comparison["identical"]:
        console.print("The two runs hold the same numbers.")
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("K", "p", escape(names[0]), escape(names[1]), "difference", "± s.e.", "excess", "excess"):
        table.add_column(column, justify="right")
    for row in comparison["scores"]:
        if row["variant"] == "absolute":
            table.add_row(
                str(row["k"]), str(row["norm"]), number(row["first"]["score"]), number(row["second"]["score"]),
                number(row["difference"], 4, sign=True), number(row["standard_error"], 4),
                percent(row["first"]["excess"]), percent(row["second"]["excess"]),
            )  # fmt: skip
    console.print(table)
    if comparison["largest_pair_difference"] is not None:
        console.print(f"largest difference of a pair's mismatch: {comparison['largest_pair_difference']:.2g}")
    if not comparison["same_prompts"]:
        console.print("[yellow]The prompts differ, so the scores do not compare prompt by prompt.[/]")
    for key, (first, second) in comparison["provenance"].items():
        console.print(f"{key}: {escape(str(first))} | {escape(str(second))}", highlight=False)
