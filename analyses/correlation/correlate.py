"""Does coupling go with benchmark scores, and beyond size? What ``coupling correlate`` computes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coupling.analyses.correlation import association
from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.analyses.correlation.matching import parse_aliases
from coupling.analyses.correlation.models import SIZES, Table, join_table
from coupling.errors import CouplingError

MEASURE_RESAMPLES = 999
"""Of permutations and bootstrap in the table of measures, which has many rows."""

Progress = Callable[[str], None]
"""Called with what is being computed."""


def correlate_runs(
    folders: Sequence[str | Path], scores: str, *, aliases: Sequence[str] = (), benchmarks: Sequence[str] = (),
    measure: str | None = None, seed: int = 0, resamples: int = association.RESAMPLES, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Correlate saved runs with benchmark scores.

    Args:
        folders: finished runs.
        scores: see ``read_scores``.
        aliases: "A=B" each, a run's model or folder and its name in the scores.
        benchmarks: only these; default: all that the scores have.
        measure: the score that stands for coupling; default: see ``default_measure``.
        seed: of permutations and bootstrap.
        resamples: how many of each.
        progress: see ``Progress``.

    Returns:
        See ``correlate``.

    Raises:
        CouplingError: if a run, the scores or an alias is at fault, or there is nothing to correlate.
    """
    table = join_table(folders, read_scores(scores), parse_aliases(aliases))
    return correlate(table, benchmarks=benchmarks, measure=measure, seed=seed, resamples=resamples, progress=progress)


def correlate(
    table: Table, *, benchmarks: Sequence[str] = (), measure: str | None = None, seed: int = 0,
    resamples: int = association.RESAMPLES, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All statistics of a table, JSON-able.

    Args:
        table: models, measures, sizes and benchmarks.
        benchmarks: only these; default: all.
        measure: the measure that stands for coupling; default: the table's.
        seed: of permutations and bootstrap; the same seed and table give the same numbers.
        resamples: how many of each.
        progress: see ``Progress``.

    Returns:
        ``measure``, ``models``, ``results`` (one for each benchmark: ``predictors``, ``joint`` regressions,
        ``leave_one_model_out``, ``leave_one_family_out``, ``between_families``, ``within``), ``measures`` (a row for
        each measure and benchmark), ``skipped`` benchmarks, ``left_out`` runs and scores, ``notes``, ``warnings`` and
        ``points``.

    Raises:
        CouplingError: if the measure or a benchmark is not there; if coupling is constant or known for fewer than 3
            models; if no benchmark can be correlated.
    """
    measure = _chosen([measure or table.primary], table.measures, "measure")[0]
    names = _chosen(benchmarks, table.benchmarks, "benchmark") or table.benchmarks
    known = table.frame[table.frame[measure].notna()]
    score = known[measure].to_numpy(dtype=float)
    if len(score) >= association.FEWEST and association.is_constant(score):
        raise CouplingError(
            f"{measure} is the same for all {len(score)} models ({score[0]:.6g}), so nothing correlates with it"
        )
    results, rows, skipped = [], [], []
    for name in names:
        if progress is not None:
            progress(name)
        try:
            results.append(_one_benchmark(table, measure, name, seed, resamples))
        except CouplingError as error:
            skipped.append({"benchmark": name, "reason": str(error)})
            continue
        rows += _measures(table, name, seed, min(resamples, MEASURE_RESAMPLES))
    if not results:
        raise CouplingError("; ".join(dict.fromkeys(skip["reason"] for skip in skipped)))
    _correct_across_benchmarks(results)
    return {
        "measure": measure,
        "models": len(table.frame),
        "results": results,
        "measures": rows,
        "skipped": skipped,
        "left_out": [{"name": name, "reason": reason} for name, reason in table.left_out],
        "notes": table.notes,
        "warnings": _warnings(results, table.frame),
        "points": _points(table.frame, measure, names),
        "seed": seed,
    }


def _chosen(wanted: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    for name in wanted:
        if name not in known:
            raise CouplingError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return list(wanted)


def _complete(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows that have all of the columns."""
    return frame.dropna(subset=list(dict.fromkeys(columns)))


def predictors_of(frame: pd.DataFrame, measure: str, sizes: Sequence[str] = SIZES) -> pd.DataFrame:
    """The measure, then each size raw and in logarithm: a column each; sizes that no model tells are left out."""
    columns = {measure: frame[measure]}
    for size in sizes:
        if size in frame and frame[size].notna().any():
            columns[size] = frame[size]
            columns[f"log {size}"] = np.log(frame[size].where(frame[size] > 0))
    return pd.DataFrame(columns, dtype=float)


def _one_benchmark(table: Table, measure: str, benchmark: str, seed: int, resamples: int) -> dict[str, Any]:
    rows = _complete(table.frame, [measure, benchmark])
    dropped = [str(name) for name in table.frame.index.difference(rows.index, sort=False)]
    x, y = (rows[name].to_numpy(dtype=float) for name in (measure, benchmark))
    association.check_pair(x, y, (measure, benchmark))
    sizes = [*SIZES, *table.controls]
    columns = predictors_of(rows, measure, sizes)
    predictors, absent = (
        [],
        [{"predictor": size, "reason": "no model tells it"} for size in sizes if size not in columns],
    )
    for name in columns:
        held = columns[name].notna().to_numpy()
        try:
            association.check_pair(columns[name].to_numpy()[held], y[held], (name, benchmark))
        except CouplingError as error:
            absent.append({"predictor": name, "reason": str(error)})
            continue
        found = association.association(columns[name].to_numpy()[held], y[held], seed=seed, resamples=resamples)
        predictors.append({"name": name} | found)
    families = rows["family"].astype(str).to_list()
    return {
        "benchmark": benchmark,
        "n": len(rows),
        "dropped": dropped,
        "predictors": predictors,
        "absent": absent,
        "joint": _joint(columns, y, measure, table.controls),
        "leave_one_model_out": association.leave_out(x, y, [str(name) for name in rows.index]),
        "leave_one_family_out": association.leave_out(x, y, families) if len(set(families)) > 1 else None,
        "between_families": association.between_groups(x, y, families),
        "families": len(set(families)),
        "within": _within(rows, x, y, table.within, seed, resamples),
    }


def _within(
    rows: pd.DataFrame, x: np.ndarray, y: np.ndarray, column: str | None, seed: int, resamples: int
) -> list[dict[str, Any]]:
    """The association among models that share a value of a column; values of too few models are left out."""
    found = []
    for value in sorted(set(rows[column])) if column is not None else []:
        kept = (rows[column] == value).to_numpy()
        if kept.sum() >= association.FEWEST and not any(map(association.is_constant, (x[kept], y[kept]))):
            row = association.association(x[kept], y[kept], seed=seed, resamples=resamples)
            found.append({"column": column, "value": float(value)} | row)
    return found


def _joint(columns: pd.DataFrame, y: np.ndarray, measure: str, controls: Sequence[str]) -> list[dict[str, Any]]:
    """The measure with log parameters, with controls too, with all sizes in logarithm, with all sizes as they are."""
    sets = [
        [measure, "log parameters"],
        [measure, "log parameters", *(f"log {control}" for control in controls)],
        [measure, *(f"log {size}" for size in SIZES)],
        [measure, *SIZES],
    ]
    found: list[dict[str, Any]] = []
    seen: list[list[str]] = []
    for wanted in sets:
        names = [name for name in wanted if name in columns and not _is_useless(columns[name])]
        if len(names) < 2 or measure not in names or names in seen:
            continue
        seen.append(names)
        held = columns[names].notna().all(axis=1).to_numpy()
        try:
            fit = association.joint_regression(columns.loc[held, names], y[held])
        except CouplingError as error:
            found.append({"predictors": names, "omitted": str(error)})
        else:
            found.append({"predictors": names} | fit)
    return found


def _is_useless(column: pd.Series) -> bool:
    held = column.dropna().to_numpy()
    return len(held) < association.FEWEST or association.is_constant(held)


def _measures(table: Table, benchmark: str, seed: int, resamples: int) -> list[dict[str, Any]]:
    """Every measure against one benchmark, the best first, with its partial correlation given log parameters.

    P-values are also corrected over the measures, because the best of many is chosen by looking.
    """
    rows = []
    for measure in table.measures:
        kept = _complete(table.frame, [measure, benchmark])
        x, y = (kept[name].to_numpy(dtype=float) for name in (measure, benchmark))
        row: dict[str, Any] = {"benchmark": benchmark, "measure": measure, "n": len(kept)}
        try:
            association.check_pair(x, y, (measure, benchmark))
        except CouplingError as error:
            rows.append(row | {"omitted": str(error)})
            continue
        row |= association.association(x, y, seed=seed, resamples=resamples)
        columns = predictors_of(kept, measure)
        row |= {"partial_given_log_parameters": None, "partial_p": None}
        if "log parameters" in columns:
            held = columns["log parameters"].notna().to_numpy()
            try:
                fit = association.joint_regression(columns.loc[held, [measure, "log parameters"]], y[held])
            except CouplingError:
                pass
            else:
                row |= {"partial_given_log_parameters": fit["terms"][0]["partial"], "partial_p": fit["terms"][0]["p"]}
        rows.append(row)
    for row, more in zip(rows, association.corrected([row.get("pearson_p") for row in rows]), strict=True):
        row |= more
    return sorted(rows, key=lambda row: -(row.get("r2") or 0.0))


def _correct_across_benchmarks(results: list[dict[str, Any]]) -> None:
    """Add p-values corrected over the benchmarks, predictor by predictor."""
    names = dict.fromkeys(row["name"] for result in results for row in result["predictors"])
    for name in names:
        rows = [row for result in results for row in result["predictors"] if row["name"] == name]
        for row, more in zip(rows, association.corrected([row["pearson_p"] for row in rows]), strict=True):
            row |= more


def _warnings(results: list[dict[str, Any]], frame: pd.DataFrame) -> list[str]:
    warnings = []
    few = [result for result in results if result["n"] < association.FEW]
    if few:
        counts = sorted({result["n"] for result in few})
        warnings.append(
            f"only {' or '.join(map(str, counts))} models: with fewer than {association.FEW} any correlation is mostly "
            "chance; read nothing into it"
        )
    sizes = frame["family"].value_counts()
    if len(frame) >= association.FEW and sizes.iloc[0] > len(frame) / 2 and len(sizes) > 1:
        warnings.append(f"{sizes.iloc[0]} of {len(frame)} models are of one family ({sizes.index[0]})")
    elif len(sizes) == 1:
        warnings.append(f"all models are of one family ({sizes.index[0]}), so no family can be left out")
    return warnings


def _points(frame: pd.DataFrame, measure: str, benchmarks: Sequence[str]) -> list[dict[str, Any]]:
    points = []
    for name, row in frame.iterrows():
        sizes = {size: association.finite(row[size]) for size in SIZES if size in frame}
        points.append(
            {"model": str(name), "family": str(row["family"]), "score": association.finite(row[measure])}
            | sizes
            | {"benchmarks": {benchmark: association.finite(row[benchmark]) for benchmark in benchmarks}}
        )
    return points


def headline(benchmarks: Sequence[str]) -> str:
    """The benchmark that a single picture shows: the average where there is one, else the first."""
    return next((name for name in benchmarks if "average" in name.lower()), benchmarks[0])


def scatter_table(result: dict[str, Any], benchmark: str | None = None) -> pd.DataFrame:
    """What a scatter figure draws: columns ``model``, ``score``, ``benchmark``, and ``group`` where there are two.

    Args:
        result: what ``correlate`` returned; its ``measured`` runs, if any, are the group "measured" among the
            "published".
        benchmark: default: see ``headline``.
    """
    chosen = benchmark or headline([one["benchmark"] for one in result["results"]])
    rows = [
        {"model": point["model"], "score": point["score"], "benchmark": point["benchmarks"][chosen]}
        for point in result["points"]
    ]
    table = pd.DataFrame(rows)
    if "measured" in result:
        runs = [{key: run[key] for key in ("model", "score", "benchmark")} for run in result["measured"]]
        table = pd.concat([table.assign(group="published"), pd.DataFrame(runs).assign(group="measured")])
    return table.dropna(ignore_index=True)
