"""How a correlation looks on a terminal."""

import re
from typing import Any

from rich.console import Console
from rich.text import Text

from coupling.analyses.correlation.matching import NO_RUN
from coupling.analyses.correlation.measures import is_plain
from coupling.cli.options import as_options
from coupling.cli.render.chance_level import print_chance
from coupling.cli.render.numbers import number, p_value, percent
from coupling.cli.render.rows import print_table
from coupling.cli.render.statistics import interval, line, short_interval, table_of, three_figures, two_digits
from coupling.cli.render.text import plain
from coupling.facts import counted

HOW = {
    "exact": "the same name in the scores",
    "folded": "{scores} of the scores, the same name apart from organization, case and punctuation",
    "alias": "{scores} of the scores, as --alias says",
}
"""How a run and its row of the scores were joined, in words."""
CONSTANT = re.compile(r"(.+) is the same for (all \d+ models) \(.*\), so nothing correlates with it")
"""Why a column that does not vary is left out, as ``coupling.analyses.correlation.association`` says it."""
MOST_MATCHES = 30
"""The most matches that are listed."""
MOST_NAMES = 10
"""The most names that are listed on one line."""

LEGEND = (
    "95 %: intervals, of R² by BCa bootstrap, of the slope by Student's t; r: Pearson; ρ: Spearman; τ: Kendall; "
    "perm. p: p of r, by permutation; partial r: given the other predictors; VIF: variance inflation factor"
)


def print_correlation(result: dict[str, Any], console: Console) -> None:
    """Print what ``correlate`` returned: each benchmark, then the runs that were placed, and what was left out."""
    _print_matches(result, console)
    for warning in result["warnings"]:
        line(warning, console, "yellow")
    several = len(result["results"]) > 1
    for benchmark in result["results"]:
        _print_benchmark(benchmark, result["measure"], several, console)
        _print_measures([row for row in result["measures"] if row["benchmark"] == benchmark["benchmark"]], console)
    if "chance" in result:
        print_chance(result["chance"], result["results"][0], result["measure"], console)
    if result.get("measured"):
        _print_measured(result["measured"], console)
    _print_legend(len(result["results"]), console)
    _print_left_out(result, console)


def _print_matches(result: dict[str, Any], console: Console) -> None:
    """Which run has which row of the scores, and which runs have none; nothing where there are no runs."""
    matches = result.get("matches") or []
    without = [entry for entry in result["left_out"] if entry["reason"] != NO_RUN]
    if not matches:
        return
    line(f"{len(matches)} of {counted(len(matches) + len(without), 'run')} with scores:", console)
    for match in matches[:MOST_MATCHES]:
        how = HOW[match["how"]].format(scores=match["scores"])
        line(f"  {match['model']} ({match['folder']}): {how}", console)
    if len(matches) > MOST_MATCHES:
        line(f"  and {len(matches) - MOST_MATCHES} more (--json lists all)", console)
    for entry in without[:MOST_MATCHES]:
        line(f"  {entry['name']}: {entry['reason']}", console, "yellow")
    if len(without) > MOST_MATCHES:
        line(f"  and {len(without) - MOST_MATCHES} more without scores (--json lists all)", console, "yellow")
    console.print()


def _print_benchmark(benchmark: dict[str, Any], measure: str, several: bool, console: Console) -> None:
    """What predicts one benchmark: each predictor alone, several together, and without some of the models."""
    line(Text.assemble(plain(benchmark["benchmark"], "bold"), f", {benchmark['n']} models"), console)
    if benchmark["dropped"]:
        dropped = benchmark["dropped"]
        line(f"{len(dropped)} models without a score are not counted: {_names(dropped)}", console)
    line(_verdict(benchmark, measure), console)
    _print_predictors(benchmark["predictors"], several, console)
    for reason in _together([absent["reason"] for absent in benchmark["absent"]]):
        line(reason, console)
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
    lines = table_of("predictor", ("R²", "95 %", "slope", "95 %"))
    correlations = table_of("predictor", ("r", "p", "perm. p", "ρ", "p", "τ", "p", *(["Holm"] if several else [])))
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
    print_table(lines, console)
    print_table(correlations, console)


def _print_joint(joint: dict[str, Any], console: Console) -> None:
    """A regression on several predictors at once, or why there is none."""
    if "omitted" in joint:
        line(f"together, {' + '.join(joint['predictors'])}: {joint['omitted']}", console)
        return
    table = table_of(
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
    print_table(table, console)


def _print_without_groups(benchmark: dict[str, Any], measure: str, console: Console) -> None:
    """How the measure's correlation depends on single models, on families, and on groups within which it is taken."""
    name = measure
    for key, group in (("leave_one_model_out", "model"), ("leave_one_family_out", "family")):
        without = benchmark[key]
        if without is not None:
            line(
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
        line(f"Pearson's r of {name} at equal {benchmark['within'][0]['column']}: {'; '.join(groups)}", console)
    between = benchmark["between_families"]
    if between is not None and between["n"] < benchmark["n"]:
        line(f"R² of the means of {between['n']} families: {number(between['r2'])}, p {p_value(between['p'])}", console)


def _print_measures(rows: list[dict[str, Any]], console: Console) -> None:
    """Every measure against one benchmark; the many signed and swapped ones are in the JSON alone."""
    if len(rows) < 2:
        return
    shown = [row for row in rows if is_plain(row["measure"])]
    has_loss = any(row.get("partial_given_loss") is not None for row in rows)
    beyond = ("beyond size", "Holm", *(("beyond loss", "Holm") if has_loss else ()))
    table = table_of("measure", ("R²", "95 %", "r", "p", "Holm", *beyond), "which measure predicts?")
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
                p_value(row["partial_p_holm"]),
                *(
                    [number(row["partial_given_loss"], sign=True), p_value(row["partial_loss_p_holm"])]
                    if has_loss
                    else []
                ),
            )
    print_table(table, console)
    for reason in _together([row["omitted"] for row in shown if "omitted" in row]):
        line(reason, console)
    hidden = len(rows) - len(shown)
    variants = f" ({hidden} signed and swapped ones are shown by --json alone)" if hidden else ""
    given = "partial r given log parameters" + ("; beyond loss: given the held-out loss" if has_loss else "")
    line(f"Holm: p corrected for {len(rows)} measures{variants}; beyond size: {given}", console)


def _together(reasons: list[str]) -> list[str]:
    """Reasons, with those that columns are constant as one."""
    constant: dict[str, list[str]] = {}
    others = []
    for reason in reasons:
        match = CONSTANT.fullmatch(reason)
        if match is None:
            others.append(reason)
        else:
            constant.setdefault(match[2], []).append(match[1])
    return [
        f"the same for {models}, so nothing correlates with it: {', '.join(n)}" for models, n in constant.items()
    ] + [*others]


def _print_measured(measured: list[dict[str, Any]], console: Console) -> None:
    """Runs among the published points, which of them can be compared, and why the others cannot."""
    benchmark = measured[0]["benchmark_name"]
    table = table_of(
        "model", ("K", "coupling, p = 1", "chance", benchmark, "comparable"), "your runs among the published points"
    )
    for run in measured:
        table.add_row(
            plain(run["model"]),
            str(run["k"]),
            number(run["score"], 4),
            number(run["chance"], 4),
            number(run["benchmark"], 1),
            "yes" if run["comparable"] else "no",
        )
    print_table(table, console)
    if any(run["comparable"] for run in measured):
        line(
            "Those measured at K = 10% of the width can, in all likelihood, be compared with the published points, "
            "which lie on the chance curve of that K. The paper's prompts are those of the benchmark.",
            console,
        )
    reasons = dict.fromkeys(reason for run in measured for reason in run["differs"])
    if reasons:
        line("The others cannot be compared with the published points:", console, "yellow")
        for reason in reasons:
            line(f"  {as_options(reason, {'--k'})}", console)
    console.print()


def _print_legend(n_benchmarks: int, console: Console) -> None:
    corrected = f"; Holm: p of r, corrected for {n_benchmarks} benchmarks" if n_benchmarks > 1 else ""
    line(f"{LEGEND}{corrected}", console)
    console.print()


def _print_left_out(result: dict[str, Any], console: Console) -> None:
    """The benchmarks, models and scores that were left out, and the notes."""
    for skip in result["skipped"]:
        line(f"skipped {skip['benchmark']}: {skip['reason']}", console)
    for note in result["notes"]:
        line(note, console)
    by_reason: dict[str, list[str]] = {}
    printed = bool(result.get("matches"))
    for entry in result["left_out"]:
        if printed and entry["reason"] != NO_RUN:
            continue  # beside the matches
        by_reason.setdefault(entry["reason"], []).append(entry["name"])
    for reason, names in by_reason.items():
        line(f"left out, {reason}: {_names(names)}", console)


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more (--json lists all)" if more > 0 else "")
