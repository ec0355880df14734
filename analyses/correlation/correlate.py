"""Does coupling correlate with benchmark scores, and beyond size? What ``coupling correlate`` computes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation import association
from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.analyses.correlation.benchmark_statistics import (
    benchmark_statistics,
    correct_across_benchmarks,
    measure_statistics,
)
from coupling.analyses.correlation.matching import NO_RUN, parse_aliases
from coupling.analyses.correlation.models import SIZES, ModelTable, join_table
from coupling.analyses.correlation.scatter import chosen, scatter_of_runs
from coupling.errors import CouplingError
from coupling.facts import counted
from coupling.untrusted import clean

__all__ = ["Progress", "correlate", "correlate_runs", "scatter_of_runs"]

MOST_BENCHMARKS = 50
"""The most benchmarks of one call: each takes seconds, and p-values are corrected over all of them."""
MOST_REASONS = 2
"""The most benchmarks of which an error says why they are not correlated."""
MOST_LISTED = 5
"""The most names of one kind in an error."""
MEASURE_RESAMPLES = 999
"""Permutations and bootstrap samples in the table of measures, which has many rows."""

Progress = Callable[[str], None]
"""A function that is called with the name of each benchmark before its statistics are computed."""


def correlate_runs(
    folders: Sequence[str | Path],
    scores: str,
    *,
    aliases: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
    measure: str | None = None,
    seed: int = 0,
    resamples: int = association.RESAMPLES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Correlate saved runs with benchmark scores.

    Args:
        folders: finished runs.
        scores: the source of the benchmark scores; see ``read_scores``.
        aliases: "A=B" each, a run's model or folder and its name in the scores.
        benchmarks: the benchmarks to consider; default: all that the scores have.
        measure: the measure that stands for coupling; default: see ``default_measure``.
        seed: seed of permutations and bootstrap.
        resamples: number of permutations, and of bootstrap samples.
        progress: see ``Progress``.

    Returns:
        See ``correlate``.

    Raises:
        CouplingError: if a run, the scores or an alias is at fault, or there is nothing to correlate.
    """
    table = join_table(folders, read_scores(scores), parse_aliases(aliases))
    return correlate(table, benchmarks=benchmarks, measure=measure, seed=seed, resamples=resamples, progress=progress)


def correlate(
    table: ModelTable,
    *,
    benchmarks: Sequence[str] = (),
    measure: str | None = None,
    seed: int = 0,
    resamples: int = association.RESAMPLES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All statistics of a table, in a form that JSON can write.

    Args:
        table: models, measures, sizes and benchmarks.
        benchmarks: the benchmarks to consider; default: all.
        measure: the measure that stands for coupling; default: the table's primary measure.
        seed: seed of permutations and bootstrap; the same seed and table give the same numbers.
        resamples: number of permutations, and of bootstrap samples.
        progress: see ``Progress``.

    Returns:
        ``measure``, ``models``, ``results`` (one per benchmark: ``predictors``, ``joint`` regressions,
        ``leave_one_model_out``, ``leave_one_family_out``, ``between_families``, ``within``), ``measures`` (one row per
        measure and benchmark), ``skipped`` benchmarks, ``left_out`` runs and scores, ``notes``, ``matches``,
        ``warnings`` and ``points``.

    Raises:
        CouplingError: if the measure or a benchmark does not exist; if coupling is constant or known for fewer than 3
            models; if no benchmark can be correlated.
    """
    measure = chosen(measure or table.primary, table.measures, "measure")
    names = [chosen(name, table.benchmarks, "benchmark") for name in benchmarks or table.benchmarks]
    if len(names) > MOST_BENCHMARKS:
        raise CouplingError(
            f"there are {len(names):,} benchmarks, and at most {MOST_BENCHMARKS} are correlated at once; choose them "
            "with `benchmarks`"
        )
    _check_measure(table.frame[measure].dropna(), measure)
    results, rows, skipped = [], [], []
    for name in names:
        if progress is not None:
            progress(name)
        try:
            results.append(benchmark_statistics(table, measure, name, seed=seed, resamples=resamples))
        except CouplingError as error:
            skipped.append({"benchmark": name, "reason": str(error)})
            continue
        rows += measure_statistics(table, name, seed=seed, resamples=min(resamples, MEASURE_RESAMPLES))
    if not results:
        reasons = list(dict.fromkeys(skip["reason"] for skip in skipped))
        more = len(reasons) - MOST_REASONS
        reasons = reasons[:MOST_REASONS] + ([f"and so for {counted(more, 'other benchmark')}"] if more > 0 else [])
        raise CouplingError("; ".join(reasons) + _unmatched(table))
    correct_across_benchmarks(results)
    return {
        "measure": measure,
        "models": len(table.frame),
        "results": results,
        "measures": rows,
        "skipped": skipped,
        "left_out": [{"name": name, "reason": reason} for name, reason in table.left_out],
        "notes": table.notes,
        "matches": table.matches,
        "warnings": _warnings(results, table.frame),
        "points": _points(table.frame, measure, names),
        "seed": seed,
    }


def _check_measure(column: pd.Series, measure: str) -> None:
    """Refuse a measure that is the same for all models, whichever benchmark it would be correlated with."""
    values = column.to_numpy(dtype=float)
    if len(values) >= association.FEWEST:
        association.check_varies(values, measure)


def _unmatched(table: ModelTable) -> str:
    """Which runs and which rows of the scores have no counterpart, for a table with too few models."""
    if len(table.frame) >= association.FEWEST:
        return ""
    runs = [f"{clean(name, 200)}: {reason}" for name, reason in table.left_out if reason != NO_RUN]
    rows = [clean(name, 100) for name, reason in table.left_out if reason == NO_RUN]
    said = [f"not matched: {'; '.join(runs[:MOST_LISTED])}{_more(runs)}"] if runs else []
    if rows:
        said.append(f"rows of the scores without a run: {', '.join(rows[:MOST_LISTED])}{_more(rows)}")
    return "".join(f"; {one}" for one in said)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""


def _warnings(results: list[dict[str, Any]], frame: pd.DataFrame) -> list[str]:
    """What a reader must know before trusting the numbers: too few models, or models of one family."""
    warnings = []
    few = sorted({result["n"] for result in results if result["n"] < association.FEW})
    if few:
        warnings.append(
            f"only {' or '.join(map(str, few))} models: with fewer than {association.FEW} any correlation is mostly "
            "chance; read nothing into it"
        )
    sizes = frame["family"].value_counts()
    if len(frame) >= association.FEW and sizes.iloc[0] > len(frame) / 2 and len(sizes) > 1:
        warnings.append(f"{sizes.iloc[0]} of {len(frame)} models are of one family ({sizes.index[0]})")
    elif len(sizes) == 1:
        warnings.append(f"all models are of one family ({sizes.index[0]}), so no family can be left out")
    return warnings


def _points(frame: pd.DataFrame, measure: str, benchmarks: Sequence[str]) -> list[dict[str, Any]]:
    """Each model with its family, its score, its sizes and its benchmark scores."""
    points = []
    for name, row in frame.iterrows():
        sizes = {size: association.finite(row[size]) for size in SIZES if size in frame}
        points.append(
            {"model": str(name), "family": str(row["family"]), "score": association.finite(row[measure])}
            | sizes
            | {"benchmarks": {benchmark: association.finite(row[benchmark]) for benchmark in benchmarks}}
        )
    return points
