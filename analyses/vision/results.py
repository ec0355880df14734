"""The results of the study: one row per model, the statistics of every measure, and the page's table and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.association import RESAMPLES, finite
from coupling.analyses.correlation.benchmark_statistics import measure_statistics
from coupling.analyses.correlation.joint import joint_regression
from coupling.analyses.correlation.measures import default_measure, is_plain
from coupling.analyses.correlation.models import ModelTable, read_runs
from coupling.analyses.vision.design import FACTORS, Training
from coupling.analyses.vision.pictures import ACCURACY, accuracies, rates
from coupling.analyses.vision.training import RECORD
from coupling.errors import CouplingError
from coupling.figures import save
from coupling.files import load_json, write_atomically

TABLE, STATISTICS, SUMMARY, SCORES = "vision.csv", "vision-statistics.csv", "vision-summary.md", "vision-scores.csv"
RATES, ACCURACIES = "vision-rates.png", "vision-accuracy.png"
LENGTH = "epochs"
PREDICTORS = tuple(factor for factor in FACTORS if factor != LENGTH)
"""What a measure is regressed on, among models of equal training length."""
OUTCOMES = ("train_accuracy", "train_loss", ACCURACY, "test_loss")
DESCRIPTION = ("model", *FACTORS, "seed", "parameters", *OUTCOMES)
"""The columns of the table that are not measures."""


def gather(models: Path, sweep: Path, everything: Sequence[Training]) -> pd.DataFrame:
    """The table of a finished study.

    Args:
        models: the folder of the models.
        sweep: the folder of the sweep.
        everything: the trainings.

    Returns:
        One row per model, in the order of the trainings: the columns ``DESCRIPTION``, and every measure of its run that
        is neither signed nor swapped (see ``coupling.analyses.correlation.measures``).

    Raises:
        CouplingError: if a model has no finished run.
    """
    runs = read_runs([sweep])
    measures = [name for name in runs.measures if is_plain(name)]
    by_name = {Path(model).name: row for row, model in enumerate(runs.frame["model"])}
    missing = [training.name for training in everything if training.name not in by_name]
    if missing:
        raise CouplingError(f"{len(missing)} models were not measured: {', '.join(missing[:3])}")
    rows = []
    for training in everything:
        measured = runs.frame.iloc[by_name[training.name]]
        record = load_json(models / training.name / RECORD)
        described = {key: record[key] for key in (*FACTORS, "seed", *OUTCOMES)}
        values = {"model": training.name, "parameters": int(measured["parameters"])} | described
        rows.append({key: values[key] for key in DESCRIPTION} | {name: float(measured[name]) for name in measures})
    return pd.DataFrame(rows)


def measures_in(table: pd.DataFrame) -> list[str]:
    """The columns of a table that are measures."""
    return [str(name) for name in table.columns if name not in DESCRIPTION]


def primary(table: pd.DataFrame) -> str:
    """The measure that stands for coupling: the excess over chance at p = 2 and the largest K."""
    return default_measure(table, measures_in(table))


def by_configuration(table: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration: means over its seeds; ``model`` is the name without the seed."""
    names = table["model"].str.replace(r"-seed\d+$", "", regex=True)
    grouped: Any = table.assign(model=names).groupby("model", sort=False)
    return grouped.mean(numeric_only=True).drop(columns="seed").reset_index()


def effects(table: pd.DataFrame, response: str) -> list[dict[str, Any]]:
    """What stochastic depth, weight decay and depth do to a measure, or to the accuracy, at equal training length.

    Args:
        table: of ``gather``.
        response: a numeric column.

    Returns:
        One row per training length and factor: ``epochs``, ``factor``, the standardized ``coefficient`` of a regression
        on all three (in standard deviations of the response per standard deviation of the factor), the bounds ``low``
        and ``high`` of its 95% interval, and ``n``, the number of models. Coefficients are NaN where the response is
        constant, or not known for all models of the length.
    """
    rows = []
    for length, models in table.groupby(LENGTH):
        y = models[response].to_numpy(dtype=float)
        varying = [factor for factor in PREDICTORS if models[factor].nunique() > 1]
        known: dict[str, dict[str, Any]] = {}
        if finite(y.std()):
            fit = joint_regression(models[varying].astype(float), y)
            known = {term["name"]: term for term in fit["terms"]}
        for factor in PREDICTORS:
            term = known.get(factor, {})
            low, high = term.get("interval") or (None, None)
            row = {"epochs": length, "factor": factor, "coefficient": term.get("coefficient")}
            rows.append(row | {"low": low, "high": high, "n": len(models)})
    return rows


def correlations(
    table: pd.DataFrame, measures: Sequence[str] | None = None, *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """How each measure correlates with the accuracy over configurations of equal training length.

    The statistics are those of ``coupling correlate``.

    Args:
        table: of ``gather``.
        measures: columns of it; default: all that are measures.
        resamples: number of permutations, and of bootstrap samples.

    Returns:
        One row per training length and measure: the columns of
        ``coupling.analyses.correlation.benchmark_statistics.measure_statistics``, and ``epochs``.
    """
    names = measures_in(table) if measures is None else list(measures)
    rows = []
    for length, models in by_configuration(table).groupby(LENGTH):
        frame = models.set_index("model").assign(family="vision transformer")
        joined = ModelTable(frame, names, [ACCURACY], names[0])
        found = measure_statistics(joined, ACCURACY, seed=0, resamples=resamples)
        rows += [{"epochs": length} | row for row in sorted(found, key=lambda row: names.index(row["measure"]))]
    return rows


def statistics(table: pd.DataFrame, *, resamples: int = RESAMPLES) -> pd.DataFrame:
    """The statistics of every measure at every training length, as one table.

    Args:
        table: of ``gather``.
        resamples: see ``correlations``.

    Returns:
        One row per training length and measure (first the accuracy, as a response alone): for each factor its
        coefficient and interval (``stochastic_depth``, ``stochastic_depth_low``, ``stochastic_depth_high`` and so on),
        then Pearson's r with the accuracy (``pearson``, ``pearson_low``, ``pearson_high``), its p-value ``pearson_p``,
        also corrected for the number of measures (``p_holm``), ``spearman``, and the partial correlation given the
        number of parameters (``partial``, ``partial_p``).
    """
    correlated = {(row["epochs"], row["measure"]): row for row in correlations(table, resamples=resamples)}
    rows: list[dict[str, Any]] = []
    for measure in (ACCURACY, *measures_in(table)):
        for effect in effects(table, measure):
            length, factor = effect["epochs"], effect["factor"]
            if not rows or (rows[-1]["measure"], rows[-1]["epochs"]) != (measure, length):
                rows.append({"measure": measure, "epochs": length})
            rows[-1] |= {
                factor: effect["coefficient"],
                f"{factor}_low": effect["low"],
                f"{factor}_high": effect["high"],
            }
        for row in rows[-table[LENGTH].nunique() :]:
            found = correlated.get((row["epochs"], measure), {})
            low, high = found.get("pearson_interval") or (None, None)
            row |= {"pearson": found.get("pearson"), "pearson_low": low, "pearson_high": high}
            row |= {key: found.get(key) for key in ("pearson_p", "p_holm", "spearman")}
            row |= {"partial": found.get("partial_given_log_parameters"), "partial_p": found.get("partial_p")}
    return pd.DataFrame(rows)


def summary(statistics: pd.DataFrame) -> list[list[str]]:
    """The table of the documentation's page.

    Args:
        statistics: the table that ``statistics`` returned.

    Returns:
        A header, and one row per measure: the coefficient of the stochastic-depth rate and the correlation with the
        accuracy, with 95% intervals, at each training length. Z-scores are left out: they are the measures in another
        unit.
    """
    lengths = sorted(int(length) for length in statistics["epochs"].unique())
    header = ["measure", *(f"stochastic depth, {length} epochs" for length in lengths)]
    rows = [[*header, *(f"accuracy, {length} epochs" for length in lengths)]]
    for measure, of_measure in statistics.groupby("measure", sort=False):
        if " z K=" in str(measure):
            continue
        by_length = of_measure.set_index("epochs")
        cells = [_cell(by_length.loc[length], "stochastic_depth") for length in lengths]
        cells += [_cell(by_length.loc[length], "pearson") for length in lengths]
        rows.append([str(measure).replace("_", " "), *cells])
    return rows


def _cell(row: pd.Series, name: str) -> str:
    """A number with its interval, such as ``+0.41 (+0.20 to +0.62)``."""
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if pd.isna(value):
        return ""
    return f"{value:+.2f}" + ("" if pd.isna(low) else f" ({low:+.2f} to {high:+.2f})")


def verdict(statistics: pd.DataFrame, measure: str, name: str) -> str:
    """Whether a measure agrees with the paper, by the rule that was fixed before.

    Args:
        statistics: the table that ``statistics`` returned.
        measure: one of its measures.
        name: "stochastic_depth" for the coefficient of the rate, "pearson" for the correlation with the accuracy.

    Returns:
        "agrees" where the interval is above 0 at every training length, "contradicts" where it is below 0 at every
        one, otherwise "undecided".
    """
    rows = statistics[statistics["measure"] == measure]
    if (rows[f"{name}_low"] > 0).all():
        return "agrees"
    return "contradicts" if (rows[f"{name}_high"] < 0).all() else "undecided"


def as_markdown(rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def write_results(out: Path, models: Path, sweep: Path, everything: Sequence[Training]) -> None:
    """Write the tables and the pictures into the study's folder.

    Args:
        out: the study's folder.
        models: see ``gather``.
        sweep: see ``gather``.
        everything: the trainings.
    """
    _write(out / TABLE, gather(models, sweep, everything))
    table = pd.read_csv(out / TABLE)  # the statistics are those of the digits that are written
    scores = table[["model", ACCURACY, "test_loss"]].assign(
        family=table["model"].str.replace(r"-seed\d+$", "", regex=True)
    )
    _write(out / SCORES, scores)
    _write(out / STATISTICS, statistics(table))
    write_atomically(out / SUMMARY, as_markdown(summary(pd.read_csv(out / STATISTICS))).encode())
    save(rates(table, primary(table)), out / RATES)
    save(accuracies(table, primary(table)), out / ACCURACIES)


def _write(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, table.to_csv(index=False, float_format="%.6g").encode())
