"""One row per model: every measure of its run, its size, its family and its benchmark scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from coupling.analyses.correlation.benchmark_scores import Scores
from coupling.analyses.correlation.families import families_of
from coupling.analyses.correlation.matching import join
from coupling.analyses.correlation.measures import default_measure, measures_of
from coupling.analyses.sweep.runs import runs_of
from coupling.errors import CouplingError
from coupling.facts import counted
from coupling.run_folder import open_run
from coupling.shares import k_number, labels_of

SIZES = ("parameters", "depth", "width")
"""What a model's size may mean: its number of parameters, its blocks, and the width of its residual stream."""

FEWEST_FOR_TENTH = 10
"""The least width that has a tenth."""


@dataclass
class ModelTable:
    """The table that ``correlate`` computes from.

    Attributes:
        frame: one row per model (the index); columns ``family``, ``parameters``, ``depth``, ``width``, the measures and
            the benchmarks; NaN where a value is not known.
        measures: the columns that were measured on the model.
        benchmarks: the columns that the measures are to predict.
        primary: the measure that stands for coupling.
        left_out: (name, reason) of every run and every row of scores without a counterpart.
        notes: what a reader should know about where the numbers come from.
        matches: of every run that has scores, its ``folder`` and ``model``, the name ``scores`` of its row, and ``how``
            the two were joined: "exact", "folded" or "alias".
        runs: a description of each run.
        controls: further columns that may explain a benchmark, treated like the sizes.
        predictors: further columns that may explain a benchmark, as they are, not in logarithm.
        within: a column by whose values the models are also examined separately, such as training steps.
    """

    frame: pd.DataFrame
    measures: list[str]
    benchmarks: list[str]
    primary: str
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    matches: list[dict[str, str]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    controls: tuple[str, ...] = ()
    predictors: tuple[str, ...] = ()
    within: str | None = None


@dataclass(frozen=True)
class MeasuredRuns:
    """Runs before they are joined with benchmark scores.

    Attributes:
        frame: one row per run; columns ``folder``, ``model``, the sizes and the measures.
        measures: the names of the measures.
        descriptions: what ``describe`` returned for each run.
        notes: differences between the runs.
    """

    frame: pd.DataFrame
    measures: list[str]
    descriptions: list[dict[str, Any]]
    notes: list[str]


def read_runs(folders: Sequence[str | Path]) -> MeasuredRuns:
    """Open runs, and compute their measures and sizes.

    Args:
        folders: finished runs, and studies, each of which stands for its finished runs.

    Raises:
        CouplingError: if no folder is given, if a folder does not contain a run or contains one of random weights, or
            if the runs are of different kinds.
    """
    if not folders:
        raise CouplingError("there are no runs to read: `folders` is empty")
    folders = runs_of(folders)
    runs = [open_run(folder) for folder in folders]
    for run, folder in zip(runs, folders, strict=True):
        if run.attrs.get("weights") == "random":
            raise CouplingError(f"{folder} measured random weights, which have no benchmark score; leave it out")
    descriptions = [describe(run, str(folder)) for run, folder in zip(runs, folders, strict=True)]
    kinds = sorted({description["kind"] for description in descriptions})
    if len(kinds) > 1:
        raise CouplingError(f"the runs are of different kinds ({', '.join(kinds)}), so their scores cannot be compared")
    rows = [
        {"folder": description["folder"], "model": description["model"]} | _sizes(run) | measures_of(run)
        for run, description in zip(runs, descriptions, strict=True)
    ]
    frame = pd.DataFrame(rows)
    measures = [name for name in frame.columns if name not in ("folder", "model", *SIZES)]
    return MeasuredRuns(frame, measures, descriptions, _differences(frame, descriptions))


def describe(run: xr.Dataset, folder: str) -> dict[str, Any]:
    """What a run records about itself, as far as a comparison depends on it."""
    recorded = {
        key: str(run.attrs.get(key, "")) for key in ("architecture", "kind", "prompts", "prompts_hash", "dtype")
    }
    last = run.get("measured_token")
    facts = {
        "tenth": tenth_of(run),
        "last_token": last is not None and bool((last == run.n_tokens - 1).all()),
    }
    asked = sorted({str(label) for labels in labels_of(run) for label in labels})
    return {"folder": folder, "model": str(run.attrs.get("model", folder)), "k": asked} | recorded | facts


def tenth_of(run: xr.Dataset) -> str:
    """How the run names the K that is a tenth of the width, rounded down; empty where it was not measured."""
    width = _number(run.attrs.get("width"))
    if not width >= FEWEST_FOR_TENTH:  # nor where it is not known
        return ""
    tenth = k_number("10%", int(width))
    labels = dict(zip(run.k.values.tolist(), labels_of(run), strict=True))
    return str(labels[tenth][0]) if tenth in labels else ""


def _sizes(run: xr.Dataset) -> dict[str, float]:
    return {
        "parameters": _number(run.attrs.get("parameters")),
        "depth": float(run.sizes["layer"] - 1),
        "width": _number(run.attrs.get("width")),
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float, np.number)) else np.nan


def _differences(frame: pd.DataFrame, descriptions: Sequence[dict[str, Any]]) -> list[str]:
    """Notes on settings that differ between the runs, and on sizes that are not recorded."""
    notes = [
        f"the runs were not all measured with the same {setting}"
        for key, setting in (("prompts_hash", "prompts"), ("dtype", "precision"), ("k", "K"))
        if len({str(description[key]) for description in descriptions}) > 1
    ]
    if frame["width"].isna().any():
        notes.append(f"the width of {int(frame['width'].isna().sum())} of {counted(len(frame), 'run')} is not recorded")
    return notes


def join_table(folders: Sequence[str | Path], scores: Scores, aliases: Mapping[str, str] | None = None) -> ModelTable:
    """Join runs and benchmark scores on the model.

    Args:
        folders: finished runs.
        scores: what ``read_scores`` returned.
        aliases: see ``join``.

    Raises:
        CouplingError: see ``read_runs`` and ``join``; also if no run has a score.
    """
    runs = read_runs(folders)
    models = runs.frame["model"].to_list()
    joined = join(models, scores.benchmarks.index.to_list(), aliases, runs.frame["folder"].to_list())
    if not joined.pairs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in joined.left_out[: min(3, len(folders))])
        raise CouplingError(
            f"no run has scores in {scores.source} ({reasons}); give other `scores`, or name the counterparts with "
            "`aliases`"
        )
    matched = sorted(joined.pairs)  # the indices of the runs that have scores
    names = [joined.pairs[index] for index in matched]
    frame = runs.frame.loc[matched].reset_index(drop=True)
    benchmarks = {name: benchmark_column(name, runs.measures) for name in scores.benchmarks.columns}
    for name, column in benchmarks.items():
        frame[column] = scores.benchmarks.loc[names, name].to_numpy()
    for size in scores.sizes.columns:  # the run's own record counts first; the scores fill in what it does not record
        frame[size] = frame[size].fillna(pd.Series(scores.sizes.loc[names, size].to_numpy()))
    architectures = [runs.descriptions[index]["architecture"] for index in matched]
    frame["family"] = [
        scores.families.get(name) or family
        for name, family in zip(names, families_of(names, architectures), strict=True)
    ]
    frame.index = pd.Index(names, name="model")
    return ModelTable(
        frame=frame.drop(columns="model"),
        measures=runs.measures,
        benchmarks=list(benchmarks.values()),
        primary=default_measure(frame, runs.measures),
        left_out=joined.left_out,
        notes=runs.notes + scores.notes,
        matches=[
            {"folder": runs.frame["folder"][index], "model": models[index]}
            | {"scores": joined.pairs[index], "how": joined.how[index]}
            for index in matched
        ],
        runs=runs.descriptions,
    )


def benchmark_column(benchmark: str, measures: Sequence[str]) -> str:
    """A benchmark's column, with an addition to its name where a size or a measure has the same name."""
    taken = {*measures, *SIZES, "family", "model", "folder"}
    return f"{benchmark} (benchmark)" if benchmark in taken else benchmark
