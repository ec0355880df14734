"""The statistics of one benchmark: what predicts it, alone, together with size, and within groups of models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from coupling.analyses.correlation import association
from coupling.analyses.correlation.association import Vector
from coupling.analyses.correlation.joint import joint_regression
from coupling.analyses.correlation.measures import LOSSES
from coupling.analyses.correlation.models import SIZES, ModelTable
from coupling.errors import CouplingError


def benchmark_statistics(
    table: ModelTable, measure: str, benchmark: str, *, seed: int, resamples: int
) -> dict[str, Any]:
    """Everything that is computed about one benchmark and the measure that stands for coupling.

    Args:
        table: models, measures, sizes and benchmarks.
        measure: the measure that stands for coupling.
        benchmark: the benchmark that is to be predicted.
        seed: seed of permutations and bootstrap.
        resamples: number of permutations, and of bootstrap samples.

    Returns:
        One entry of the ``results`` of ``correlate``.

    Raises:
        CouplingError: if measure and benchmark have no correlation; see ``association.check_pair``.
    """
    rows = _complete(table.frame, [measure, benchmark])
    x, y = (rows[name].to_numpy(dtype=float) for name in (measure, benchmark))
    association.check_pair(x, y, (measure, benchmark))
    candidates = _predictor_columns(rows, measure, [*SIZES, *table.controls])
    candidates = candidates.join(rows[[*table.predictors]].astype(float))
    predictors, absent = _predictors(candidates, y, benchmark, [*SIZES, *table.controls], seed, resamples)
    families = rows["family"].astype(str).to_list()
    return {
        "benchmark": benchmark,
        "n": len(rows),
        "dropped": [str(name) for name in table.frame.index.difference(rows.index, sort=False)],
        "predictors": predictors,
        "absent": absent,
        "joint": _joint_regressions(candidates, y, measure, table.controls, table.predictors),
        "leave_one_model_out": association.leave_out(x, y, [str(name) for name in rows.index]),
        "leave_one_family_out": association.leave_out(x, y, families) if len(set(families)) > 1 else None,
        "between_families": association.between_groups(x, y, families),
        "families": len(set(families)),
        "within": _within(rows, x, y, table.within, seed, resamples),
    }


def _complete(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows that have a value in each of the columns."""
    return frame.dropna(subset=list(dict.fromkeys(columns)))


def _predictor_columns(frame: pd.DataFrame, measure: str, sizes: Sequence[str]) -> pd.DataFrame:
    """The measure, then each size as it is and as a logarithm; without the sizes that are known for no model."""
    columns = {measure: frame[measure]}
    for size in sizes:
        if size in frame and frame[size].notna().any():
            columns[size] = frame[size]
            columns[f"log {size}"] = np.log(frame[size].where(frame[size] > 0))
    return pd.DataFrame(columns, dtype=float)


def _predictors(
    candidates: pd.DataFrame, y: Vector, benchmark: str, sizes: Sequence[str], seed: int, resamples: int
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The association of each candidate with the benchmark, and the candidates that have none with the reason."""
    predictors: list[dict[str, Any]] = []
    absent = [{"predictor": size, "reason": "not known for any model"} for size in sizes if size not in candidates]
    for name in candidates:
        known = candidates[name].notna().to_numpy()
        x = candidates[name].to_numpy()[known]
        try:
            association.check_pair(x, y[known], (name, benchmark))
        except CouplingError as error:
            absent.append({"predictor": name, "reason": str(error)})
        else:
            found = association.association(x, y[known], seed=seed, resamples=resamples)
            predictors.append({"name": name} | found)
    return predictors, absent


def _joint_regressions(
    candidates: pd.DataFrame, y: Vector, measure: str, controls: Sequence[str], others: Sequence[str]
) -> list[dict[str, Any]]:
    """The measure with log parameters; with the controls as well; with all sizes in logarithm; with all sizes.

    The measure with each of the other predictors, alone and with log parameters, comes last.
    """
    sets = [
        [measure, "log parameters"],
        [measure, "log parameters", *(f"log {control}" for control in controls)],
        [measure, *(f"log {size}" for size in SIZES)],
        [measure, *SIZES],
        *([measure, other] for other in others),
        *([measure, other, "log parameters"] for other in others),
    ]
    regressions: dict[tuple[str, ...], dict[str, Any]] = {}
    for wanted in sets:
        names = tuple(name for name in wanted if name in candidates and _varies(candidates[name]))
        if len(names) < 2 or measure not in names or names in regressions:
            continue
        known = candidates[[*names]].notna().all(axis=1).to_numpy()
        try:
            fit = joint_regression(candidates.loc[known, [*names]], y[known])
        except CouplingError as error:
            fit = {"omitted": str(error)}
        regressions[names] = {"predictors": [*names]} | fit
    return list(regressions.values())


def _varies(column: pd.Series) -> bool:
    """Whether a column has enough values, and not all the same."""
    values = column.dropna().to_numpy()
    return len(values) >= association.FEWEST and not association.is_constant(values)


def _within(
    rows: pd.DataFrame, x: Vector, y: Vector, column: str | None, seed: int, resamples: int
) -> list[dict[str, Any]]:
    """The association among the models that share a value of a column; values of too few models are left out."""
    if column is None:
        return []
    found = []
    for value in sorted(set(rows[column])):
        kept = (rows[column] == value).to_numpy()
        if kept.sum() >= association.FEWEST and not any(map(association.is_constant, (x[kept], y[kept]))):
            row = association.association(x[kept], y[kept], seed=seed, resamples=resamples)
            found.append({"column": column, "value": float(value)} | row)
    return found


def measure_statistics(table: ModelTable, benchmark: str, *, seed: int, resamples: int) -> list[dict[str, Any]]:
    """Every measure against one benchmark, the best first, also beyond log parameters and beyond the held-out loss.

    The p-values are also corrected over the measures, because the best of many is chosen after seeing the data.

    Args:
        table: models, measures, sizes and benchmarks.
        benchmark: the benchmark that is to be predicted.
        seed: seed of permutations and bootstrap.
        resamples: number of permutations, and of bootstrap samples.

    Returns:
        One row per measure; a measure that has no correlation has ``omitted``, the reason, instead of statistics.
        ``partial_given_log_parameters`` and, where the models have a held-out loss, ``partial_given_loss`` are partial
        correlations, with ``partial_p`` and ``partial_loss_p``, and these corrected by Holm: ``partial_p_holm`` and
        ``partial_loss_p_holm``.
    """
    loss = next((name for name in LOSSES if name in table.measures and table.frame[name].notna().any()), None)
    rows = [_measure_row(table, measure, benchmark, loss, seed, resamples) for measure in table.measures]
    add_corrections(rows)
    for key in ("partial_p", "partial_loss_p"):
        for row, correction in zip(rows, association.corrected([row.get(key) for row in rows]), strict=True):
            row[f"{key}_holm"] = correction["p_holm"]
    return sorted(rows, key=lambda row: -(row.get("r2") or 0.0))


def _measure_row(
    table: ModelTable, measure: str, benchmark: str, loss: str | None, seed: int, resamples: int
) -> dict[str, Any]:
    complete = _complete(table.frame, [measure, benchmark])
    x, y = (complete[name].to_numpy(dtype=float) for name in (measure, benchmark))
    row: dict[str, Any] = {"benchmark": benchmark, "measure": measure, "n": len(complete)}
    try:
        association.check_pair(x, y, (measure, benchmark))
    except CouplingError as error:
        return row | {"omitted": str(error)}
    columns = _predictor_columns(complete, measure, ["parameters"])
    beyond_size = _partial(columns, measure, "log parameters", y)
    beyond_loss: tuple[float | None, float | None] = (None, None)
    if loss is not None and loss != measure:
        beyond_loss = _partial(complete[[measure, loss]].astype(float), measure, loss, y)
    return (
        row
        | association.association(x, y, seed=seed, resamples=resamples)
        | dict(zip(("partial_given_log_parameters", "partial_p"), beyond_size, strict=True))
        | dict(zip(("partial_given_loss", "partial_loss_p"), beyond_loss, strict=True))
    )


def _partial(columns: pd.DataFrame, measure: str, given: str, y: Vector) -> tuple[float | None, float | None]:
    """The partial correlation of a measure with y given another column, and its p-value; None where not defined."""
    if given not in columns:
        return None, None
    known = columns[given].notna().to_numpy()
    try:
        fit = joint_regression(columns.loc[known, [measure, given]], y[known])
    except CouplingError:
        return None, None
    return fit["terms"][0]["partial"], fit["terms"][0]["p"]


def correct_across_benchmarks(results: Sequence[dict[str, Any]]) -> None:
    """Add p-values that are corrected over the benchmarks, separately for each predictor."""
    predictors = [row for result in results for row in result["predictors"]]
    for name in dict.fromkeys(row["name"] for row in predictors):
        add_corrections([row for row in predictors if row["name"] == name])


def add_corrections(rows: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm`` and ``p_bh`` to rows, from their ``pearson_p``; rows without one do not count as tests."""
    for row, corrections in zip(rows, association.corrected([row.get("pearson_p") for row in rows]), strict=True):
        row |= corrections
