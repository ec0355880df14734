"""How a correlation looks on a terminal."""

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coupling.analyses.correlation.measures import is_plain
from coupling.cli.render.numbers import number, p_value, percent
from coupling.cli.render.text import plain

MOST_NAMES = 10
"""The most names that are listed on one line."""

LEGEND = (
    "95 %: intervals, of R² by BCa bootstrap, of the slope by Student's t; r: Pearson; ρ: Spearman; τ: Kendall; "
    "perm. p: p of r, by permutation; partial r: given the other predictors; VIF: variance inflation factor"
)


def print_correlation(result: dict[str, Any], console: Console) -> None:
    """Print what ``correlate`` returned: each benchmark, then the runs that were placed, and what was left out."""
    for warning in result["warnings"]:
        _line(warning, console, "yellow")
    several = len(result["results"]) > 1
    for benchmark in result["results"]:
        _print_benchmark(benchmark, result["measure"], several, console)
        _print_measures([row for row in result["measures"] if row["benchmark"] == benchmark["benchmark"]], console)
    if result.get("measured"):
        _print_measured(result["measured"], console)
    _print_legend(len(result["results"]), console)
    _print_left_out(result, console)


def _print_benchmark(benchmark: dict[str, Any], measure: str, several: bool, console: Console) -> None:
    """What predicts one benchmark: each predictor alone, several together, and without some of the models."""
    _line(Text.assemble(plain(benchmark["benchmark"], "bold"), f", {benchmark['n']} models"), console)
    if benchmark["dropped"]:
        dropped = benchmark["dropped"]
        _line(f"{len(dropped)} models without a score are not counted: {_names(dropped)}", console)
    _line(_verdict(benchmark, measure), console)
    _print_predictors(benchmark["predictors"], several, console)
    for absent in benchmark["absent"]:
        _line(f"{absent['predictor']}: {absent['reason']}", console)
    for joint in benchmark["joint"]:
        _print_joint(joint, console)
    _print_without_groups(benchmark, measure, console)
    console.print()


def _verdict(benchmark: dict[str, Any], measure: str) -> str:
    """One sentence: what the measure explains, what the best size explains, and each given the other."""
    by_name = {row["name"]: row for row in benchmark["predictors"]}
    sizes = [row for name, row in by_name.items() if name != measure]
    verdict = f"{measure} explains {percent(by_name[measure]['r2'])} of the variance"
    if sizes:
        best = max(sizes, key=lambda row: row["r2"])
        verdict += f", {best['name']} {percent(best['r2'])}"
    pair: dict[str, Any] = next(
        (joint for joint in benchmark["joint"] if joint["predictors"] == [measure, "log parameters"]), {}
    )
    if "terms" in pair:
        own, size = pair["terms"]
        verdict += (
            f"; given log parameters: partial r {number(own['partial'], sign=True)}, p {p_value(own['p'])}"
            f"; log parameters given {measure}: {number(size['partial'], sign=True)}, p {p_value(size['p'])}"
        )
    return verdict


def _print_predictors(predictors: list[dict[str, Any]], several: bool, console: Console) -> None:
    """The least-squares line of each predictor, and its correlations."""
    lines = _table("predictor", ("R²", "95 %", "slope", "95 %"))
    correlations = _table("predictor", ("r", "p", "perm. p", "ρ", "p", "τ", "p", *(["Holm"] if several else [])))
    for row in predictors:
        name = plain(row["name"])
        lines.add_row(
            name,
            number(row["r2"]),
            short_interval(row["r2_interval"]),
            three_figures(row["slope"]),
            interval(row["slope_interval"], three_figures),
        )
        correlations.add_row(
            name,
            number(row["pearson"], sign=True),
            p_value(row["pearson_p"]),
            p_value(row["permutation_p"]),
            number(row["spearman"], sign=True),
            p_value(row["spearman_p"]),
            number(row["kendall"], sign=True),
            p_value(row["kendall_p"]),
            *([p_value(row["p_holm"])] if several else []),
        )
    console.print(lines)
    console.print(correlations)


def _print_joint(joint: dict[str, Any], console: Console) -> None:
    """A regression on several predictors at once, or why there is none."""
    if "omitted" in joint:
        _line(f"together, {' + '.join(joint['predictors'])}: {joint['omitted']}", console)
        return
    table = _table(
        "predictor",
        ("standardized", "95 %", "p", "partial r", "VIF"),
        f"together, {joint['n']} models: R² {number(joint['r2'])}, adjusted {number(joint['adjusted_r2'])}",
    )
    for term in joint["terms"]:
        table.add_row(
            plain(term["name"]),
            number(term["coefficient"], sign=True),
            interval(term["interval"], two_digits),
            p_value(term["p"]),
            number(term["partial"], sign=True),
            number(term["vif"], 1),
        )
    console.print(table)


def _print_without_groups(benchmark: dict[str, Any], measure: str, console: Console) -> None:
    """How the measure's correlation depends on single models, on families, and on groups within which it is taken."""
    name = measure
    for key, group in (("leave_one_model_out", "model"), ("leave_one_family_out", "family")):
        without = benchmark[key]
        if without is not None:
            _line(
                f"R² of {name} with one {group} left out: {number(without['lowest'])} (without "
                f"{without['without_lowest']}) to {number(without['highest'])} (without "
                f"{without['without_highest']})",
                console,
            )
    if benchmark["within"]:
        groups = [
            f"{row['value']:g} ({row['n']} models) {number(row['pearson'], sign=True)}, p {p_value(row['pearson_p'])}"
            for row in benchmark["within"]
        ]
        _line(f"Pearson's r of {name} at equal {benchmark['within'][0]['column']}: {'; '.join(groups)}", console)
    between = benchmark["between_families"]
    if between is not None and between["n"] < benchmark["n"]:
        _line(
            f"R² of the means of {between['n']} families: {number(between['r2'])}, p {p_value(between['p'])}", console
        )


def _print_measures(rows: list[dict[str, Any]], console: Console) -> None:
    """Every measure against one benchmark; the many signed and swapped ones are in the JSON alone."""
    if len(rows) < 2:
        return
    shown = [row for row in rows if is_plain(row["measure"])]
    table = _table("measure", ("R²", "95 %", "r", "p", "Holm", "partial r", "p"), "which measure predicts?")
    for row in shown:
        if "omitted" not in row:
            table.add_row(
                plain(row["measure"]),
                number(row["r2"]),
                short_interval(row["r2_interval"]),
                number(row["pearson"], sign=True),
                p_value(row["pearson_p"]),
                p_value(row["p_holm"]),
                number(row["partial_given_log_parameters"], sign=True),
                p_value(row["partial_p"]),
            )
    console.print(table)
    for row in shown:
        if "omitted" in row:
            _line(row["omitted"], console)
    hidden = len(rows) - len(shown)
    variants = f" ({hidden} signed and swapped ones are shown by --json alone)" if hidden else ""
    _line(f"Holm: p corrected for {len(rows)} measures{variants}; partial r: given log parameters", console)


def _print_measured(measured: list[dict[str, Any]], console: Console) -> None:
    """Runs among the published points, and why the two cannot be compared."""
    table = _table(
        "model", ("K", "coupling, p = 1", measured[0]["benchmark_name"]), "your runs among the published points"
    )
    for run in measured:
        table.add_row(plain(run["model"]), str(run["k"]), number(run["score"], 4), number(run["benchmark"], 1))
    console.print(table)
    reasons = dict.fromkeys(reason for run in measured for reason in run["differs"])
    if reasons:
        _line(
            "The runs were not measured in the same way and cannot be compared with the published points:",
            console,
            "yellow",
        )
        for reason in reasons:
            _line(f"  {reason}", console)
    console.print()


def _print_legend(n_benchmarks: int, console: Console) -> None:
    corrected = f"; Holm: p of r, corrected for {n_benchmarks} benchmarks" if n_benchmarks > 1 else ""
    _line(f"{LEGEND}{corrected}", console)
    console.print()


def _print_left_out(result: dict[str, Any], console: Console) -> None:
    """The benchmarks, models and scores that were left out, and the notes."""
    for skip in result["skipped"]:
        _line(f"skipped {skip['benchmark']}: {skip['reason']}", console)
    for note in result["notes"]:
        _line(note, console)
    by_reason: dict[str, list[str]] = {}
    for entry in result["left_out"]:
        by_reason.setdefault(entry["reason"], []).append(entry["name"])
    for reason, names in by_reason.items():
        _line(f"left out, {reason}: {_names(names)}", console)


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more (--json lists all)" if more > 0 else "")


def _line(text: str | Text, console: Console, style: str = "") -> None:
    """A line of text that the terminal wraps, without the colors that rich gives to numbers."""
    line = text if isinstance(text, Text) else plain(text, style, most=2000)
    console.print(line, highlight=False, soft_wrap=True)


def _table(first: str, columns: Sequence[str], title: str | None = None) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else plain(title),
        title_justify="left",
        title_style="",
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(plain(column), justify="right")
    return table


def interval(bounds: list[float] | None, form: Callable[[float], str] = number) -> str:
    """Two bounds, or a dash."""
    return "-" if bounds is None else f"{form(bounds[0])} to {form(bounds[1])}"


def short_interval(bounds: list[float] | None) -> str:
    """Two bounds between 0 and 1, in few characters, or a dash."""
    return "-" if bounds is None else f"{bounds[0]:.2f}–{bounds[1]:.2f}"


def two_digits(value: float) -> str:
    """A number with two digits after the point."""
    return number(value, 2)


def three_figures(value: float | None) -> str:
    """A number of any size, with three significant figures."""
    return "-" if value is None else f"{value:.3g}"
