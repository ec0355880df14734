"""How the chance level of the published points looks on a terminal."""

from typing import Any

from rich.console import Console

from coupling.cli.render.numbers import number, p_value, percent
from coupling.cli.render.rows import print_table
from coupling.cli.render.statistics import interval, line, table_of, two_digits
from coupling.cli.render.text import plain


def print_chance(chance: dict[str, Any], benchmark: dict[str, Any], measure: str, console: Console) -> None:
    """Print how much of the published coupling chance explains.

    Args:
        chance: what ``against_chance`` returned.
        benchmark: the statistics of the benchmark, one entry of the ``results`` of ``correlate``.
        measure: the name of the score.
        console: where it is printed.
    """
    of_score = next(row["r2"] for row in benchmark["predictors"] if row["name"] == measure)
    law, without = chance["power_law"]["all"], chance["power_law"]["without_off_curve"]
    left = chance["left"]
    line("Is it coupling, or chance?", console, "bold")
    line(
        f"For a flat spectrum, random frames give {measure} = 1 - sqrt(10 / d) at p = 1 and K = d/10: a number that "
        "knows nothing of a model but its width d.",
        console,
    )
    line(
        f"It explains {percent(chance['score']['r2'])} of the variance of {measure}, and "
        f"{percent(chance['benchmark']['r2'])} of that of {benchmark['benchmark']} ({measure}: {percent(of_score)}).",
        console,
    )
    line(
        f"(1 - {measure}) sqrt(d) has the median {number(chance['scaled_median'], 2)}, and chance gives "
        f"{number(chance['scaled_chance'], 2)}. So they were in all likelihood measured with K = d/10.",
        console,
    )
    line(
        f"log(1 - {measure}) on log d: exponent {_exponent(without)} over {without['n']} models "
        f"(all {law['n']}: {_exponent(law)}); chance gives -0.5.",
        console,
    )
    if chance["off_curve"]:
        rows = sorted(chance["off_curve"], key=lambda row: -row["quotient"])
        names = ", ".join(f"{row['model']} ({number(row['quotient'], 2)})" for row in rows)
        line(
            f"{len(rows)} models are off the curve: their 1 - {measure} is over 1.1 times that of chance, and their "
            f"spectra would have to be steeper: {names}.",
            console,
        )
    line(
        f"What is left above chance, as a share of chance's 1 - {measure}, correlates with {benchmark['benchmark']} at "
        f"r = {number(left['pearson'], 2, sign=True)} ({interval(left['pearson_interval'], two_digits)}).",
        console,
    )
    table = table_of("partial r", ("given the other", "95 %", "p", "models"), "each given the other")
    for which in ("all", "without_off_curve"):
        for term in chance["partial"][which]:
            table.add_row(
                plain(term["name"]),
                number(term["partial"], sign=True),
                interval(term["partial_interval"], two_digits),
                p_value(term["p"]),
                f"{term['n']}" + ("" if which == "all" else " on the curve"),
            )
    print_table(table, console)


def _exponent(law: dict[str, Any]) -> str:
    return f"{number(law['exponent'], 2)} ± {number(law['standard_error'], 3)}, R² {number(law['r2'], 2)}"
