"""The points of a scatter: a score and a benchmark score of each model. No statistics are computed here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.analyses.correlation.matching import parse_aliases
from coupling.analyses.correlation.models import join_table
from coupling.errors import CouplingError
from coupling.untrusted import clean, quoted

KNOWN = ("width", "chance")
"""Further columns of the points."""
MOST_LISTED = 40
"""Columns that a message lists."""


def scatter_of_runs(
    folders: Sequence[str | Path],
    scores: str,
    *,
    aliases: Sequence[str] = (),
    benchmark: str | None = None,
    measure: str | None = None,
) -> tuple[pd.DataFrame, str, str]:
    """The points of the runs that have a benchmark score.

    Args:
        folders: finished runs.
        scores: the source of the benchmark scores; see ``read_scores``.
        aliases: "A=B" each, a run's model or folder and its name in the scores.
        benchmark: the benchmark on the vertical axis; default: the first column of the scores.
        measure: the measure on the horizontal axis; default: see ``default_measure``.

    Returns:
        The points, with the columns ``model``, ``score`` and ``benchmark``; the name of the measure; the name of the
        benchmark.

    Raises:
        CouplingError: if a run, the scores or an alias is at fault, if the measure or the benchmark does not exist, or
            if no run has a value of both.
    """
    table = join_table(folders, read_scores(scores), parse_aliases(aliases))
    measure = chosen(measure or table.primary, table.measures, "measure")
    benchmark = chosen(benchmark or table.benchmarks[0], table.benchmarks, "benchmark")
    points = pd.DataFrame(
        {
            "model": [str(name) for name in table.frame.index],
            "score": table.frame[measure].to_numpy(dtype=float),
            "benchmark": table.frame[benchmark].to_numpy(dtype=float),
        }
    ).dropna(ignore_index=True)
    if points.empty:
        raise CouplingError(f"no run has both {measure} and {benchmark}; choose another `benchmark`")
    return points, measure, benchmark


def scatter_of_result(result: dict[str, Any], benchmark: str | None = None) -> tuple[pd.DataFrame, str, str]:
    """The points of a correlation.

    Args:
        result: what ``correlate`` or ``correlate_published`` returned; runs that the latter placed among the published
            points are the group "measured" beside the group "published".
        benchmark: the benchmark on the vertical axis; default: see ``headline``.

    Returns:
        The points, with the columns ``model``, ``score``, ``benchmark``, ``width`` and ``chance`` where they are known,
        and ``group`` where there are two; the name of the measure; the name of the benchmark.
    """
    benchmark = benchmark or headline([row["benchmark"] for row in result["results"]])
    points = pd.DataFrame(
        [
            {"model": point["model"], "score": point["score"], "benchmark": point["benchmarks"][benchmark]}
            | {key: point[key] for key in KNOWN if key in point}
            for point in result["points"]
        ]
    )
    if "measured" in result:
        runs = [{key: run[key] for key in ("model", "score", "benchmark", *KNOWN)} for run in result["measured"]]
        points = pd.concat([points.assign(group="published"), pd.DataFrame(runs).assign(group="measured")])
    points = points.dropna(subset=["score", "benchmark"], ignore_index=True)
    return points.dropna(axis="columns", how="all"), result["measure"], benchmark


def headline(benchmarks: Sequence[str]) -> str:
    """The benchmark that a single picture shows: the average if there is one, else the first.

    Example:
        >>> headline(["arc", "mmlu", "leaderboard_average"])
        'leaderboard_average'
    """
    return next((name for name in benchmarks if "average" in name.lower()), benchmarks[0])


def chosen(name: str, names: Sequence[str], role: str) -> str:
    """Check that a table has the column that was chosen.

    Args:
        name: the chosen column.
        names: the columns that exist.
        role: what the column is called in the error: "measure" or "benchmark".

    Raises:
        CouplingError: if there is no such column; the message names those that exist.
    """
    if name not in names:
        listed = ", ".join(clean(one, 60) for one in names[:MOST_LISTED])
        more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
        raise CouplingError(f"there is no {role} {quoted(name)}; there are {listed}{more}")
    return name
