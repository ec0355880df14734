"""How a correlation looks on a terminal."""

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from coupling.cli.render.numbers import number, percent

MOST_LEFT_OUT = 10


LEGEND = (
    "95 %: of R² by BCa bootstrap, of the slope by Student's t; r Pearson, ρ Spearman, τ Kendall; perm. p: of r, by "
    "permutation; partial r: given the others; VIF: variance inflation factor"
)


def print_correlation(result: dict[str, Any], console: Console) -> None:
    """What goes with what, for each benchmark; then which measure does best, and what was left out."""
    for warning in result["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    several = len(result["results"]) > 1
    for one in result["results"]:
        _print_benchmark(one, result["measure"], several, console)
        _print_measures([row for row in result["measures"] if row["benchmark"] == one["benchmark"]], console)
    if "measured" in result:
        _print_measured(result["measured"], console)
    _print_left_out(result, console)


def _print_benchmark(one: dict[str, Any], measure: str, several: bool, console: Console) -> None:
    console.print(f"[bold]{escape(one['benchmark'])}[/], {one['n']} models", highlight=False, soft_wrap=True)
    if one["dropped"]:
        console.print(f"{len(one['dropped'])} without a score are not counted: {_names(one['dropped'])}",
                      highlight=False, soft_wrap=True)  # fmt: skip
    console.print(_verdict(one, measure), highlight=False, soft_wrap=True)
    line = _table("predictor", ("R²", "95 %", "slope", "95 %"))
    ranks = _table("predictor", ("r", "p", "perm. p", "ρ", "p", "τ", "p", *(["Holm"] if several else [])))
    for row in one["predictors"]:
        line.add_row(escape(row["name"]), number(row["r2"]), short(row["r2_interval"]), figures(row["slope"]),
                     interval(row["slope_interval"], figures))  # fmt: skip
        cells = [row["name"], number(row["pearson"], sign=True), p_value(row["pearson_p"]),
                 p_value(row["permutation_p"]), number(row["spearman"], sign=True), p_value(row["spearman_p"]),
                 number(row["kendall"], sign=True), p_value(row["kendall_p"])]  # fmt: skip
        ranks.add_row(*cells, *([p_value(row["p_holm"])] if several else []))
    console.print(line)
    console.print(ranks)
    for absent in one["absent"]:
        console.print(f"{escape(absent['predictor'])}: {escape(absent['reason'])}", highlight=False, soft_wrap=True)
    for joint in one["joint"]:
        _print_joint(joint, console)
    for key, what in (("leave_one_model_out", "model"), ("leave_one_family_out", "family")):
        left = one[key]
        if left is not None:
            console.print(
                f"R² of {escape(measure)} with one {what} left out: {number(left['lowest'])} (without "
                f"{escape(left['without_lowest'])}) to {number(left['highest'])} (without "
                f"{escape(left['without_highest'])})", highlight=False, soft_wrap=True,
            )  # fmt: skip
    if one["within"]:
        column = one["within"][0]["column"]
        apart = [
            f"{row['value']:g} ({row['n']} models) {number(row['pearson'], sign=True)}, p {p_value(row['pearson_p'])}"
            for row in one["within"]
        ]
        console.print(f"Pearson of {escape(measure)} at equal {column}: {'; '.join(apart)}",
                      highlight=False, soft_wrap=True)  # fmt: skip
    between = one["between_families"]
    if between is not None and between["n"] < one["n"]:
        console.print(f"R² of the means of {between['n']} families: {number(between['r2'])}, p {p_value(between['p'])}",
                      highlight=False, soft_wrap=True)  # fmt: skip
    console.print()


def _verdict(one: dict[str, Any], measure: str) -> str:
    """One sentence: the measure, the best size, and each beyond the other."""
    by_name = {row["name"]: row for row in one["predictors"]}
    sizes = [row for name, row in by_name.items() if name != measure]
    said = f"{escape(measure)} explains {percent(by_name[measure]['r2'])} of the variance"
    if sizes:
        best = max(sizes, key=lambda row: row["r2"])
        said += f", {best['name']} {percent(best['r2'])}"
    pair: dict[str, Any] = next(
        (joint for joint in one["joint"] if joint["predictors"] == [measure, "log parameters"]), {}
    )
    if "terms" in pair:
        own, size = pair["terms"]
        said += (
            f"; beyond log parameters: partial r {number(own['partial'], sign=True)}, p {p_value(own['p'])}"
            f"; log parameters beyond it: {number(size['partial'], sign=True)}, p {p_value(size['p'])}"
        )
    return said


def _print_joint(joint: dict[str, Any], console: Console) -> None:
    if "omitted" in joint:
        together = escape(" + ".join(joint["predictors"]))
        console.print(f"together, {together}: {escape(joint['omitted'])}", highlight=False, soft_wrap=True)
        return
    table = _table(
        "predictor", ("standardized", "95 %", "p", "partial r", "VIF"),
        f"together, {joint['n']} models: R² {number(joint['r2'])}, adjusted {number(joint['adjusted_r2'])}",
    )  # fmt: skip
    for term in joint["terms"]:
        table.add_row(
            escape(term["name"]), number(term["coefficient"], sign=True), interval(term["interval"], hundredths),
            p_value(term["p"]), number(term["partial"], sign=True), number(term["vif"], 1),
        )  # fmt: skip
    console.print(table)


def _print_measures(rows: list[dict[str, Any]], console: Console) -> None:
    """Coupling and excess as they are; the signed and swapped variants are many, and in the JSON."""
    if len(rows) < 2:
        return
    table = _table("measure", ("R²", "95 %", "r", "p", "Holm", "partial r", "p"), "which measure predicts?")
    plain = [row for row in rows if not row["measure"].endswith(("signed", "swapped"))]
    for row in plain:
        if "omitted" not in row:
            table.add_row(
                escape(row["measure"]), number(row["r2"]), short(row["r2_interval"]),
                number(row["pearson"], sign=True), p_value(row["pearson_p"]), p_value(row["p_holm"]),
                number(row["partial_given_log_parameters"], sign=True), p_value(row["partial_p"]),
            )  # fmt: skip
    console.print(table)
    for row in plain:
        if "omitted" in row:
            console.print(escape(row["omitted"]), highlight=False, soft_wrap=True)
    hidden = len(rows) - len(plain)
    variants = f" ({hidden} signed and swapped ones are in --json)" if hidden else ""
    console.print(f"Holm: p corrected for {len(rows)} measures{variants}; partial r: given log parameters",
                  highlight=False, soft_wrap=True)  # fmt: skip


def _print_measured(measured: list[dict[str, Any]], console: Console) -> None:
    if not measured:
        return
    table = _table(
        "model", ("K", "coupling, p = 1", measured[0]["benchmark_name"]),
        "your runs among the published points",
    )  # fmt: skip
    for run in measured:
        table.add_row(escape(run["model"]), str(run["k"]), number(run["score"], 4), number(run["benchmark"], 1))
    console.print(table)
    reasons = {reason: None for run in measured for reason in run["differs"]}
    if reasons:
        console.print("[yellow]Not measured in the same way, so these cannot be compared with the published points:[/]",
                      soft_wrap=True)  # fmt: skip
        for reason in reasons:
            console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
    console.print()


def _print_left_out(result: dict[str, Any], console: Console) -> None:
    corrected = (
        f"; Holm: p of r, corrected for {len(result['results'])} benchmarks" if len(result["results"]) > 1 else ""
    )
    console.print(f"{LEGEND}{corrected}\n", highlight=False, soft_wrap=True)
    for skip in result["skipped"]:
        console.print(f"skipped {escape(skip['benchmark'])}: {escape(skip['reason'])}", highlight=False, soft_wrap=True)
    for note in result["notes"]:
        console.print(escape(note), highlight=False, soft_wrap=True)
    by_reason: dict[str, list[str]] = {}
    for left in result["left_out"]:
        by_reason.setdefault(left["reason"], []).append(left["name"])
    for reason, names in by_reason.items():
        console.print(f"left out, {escape(reason)}: {_names(names)}", highlight=False, soft_wrap=True)


def _names(names: list[str]) -> str:
    shown = names[:MOST_LEFT_OUT]
    more = len(names) - len(shown)
    return escape(", ".join(shown)) + (f" and {more} more (--json has them all)" if more else "")


def _table(first: str, columns: Sequence[str], title: str | None = None) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="", collapse_padding=True,
                  pad_edge=False)  # fmt: skip
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(escape(column), justify="right")
    return table


def interval(bounds: list[float] | None, shown: Callable[[float], str] = number) -> str:
    """Two bounds, or a dash."""
    return "-" if bounds is None else f"{shown(bounds[0])} to {shown(bounds[1])}"


def short(bounds: list[float] | None) -> str:
    """Two bounds between 0 and 1, in little room."""
    return "-" if bounds is None else f"{bounds[0]:.2f}–{bounds[1]:.2f}"


def hundredths(value: float) -> str:
    """A number to two digits after the point."""
    return number(value, 2)


def figures(value: float | None) -> str:
    """A number of any size, to three significant figures."""
    return "-" if value is None else f"{value:.3g}"


def p_value(value: float | None) -> str:
    """A p-value: three digits, or how small it is."""
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
