"""A row a model: every score that a run holds, the model's size, its family and its benchmark scores."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from coupling import metrics
from coupling.analyses.correlation.benchmark_scores import Scores, scores_from
from coupling.analyses.correlation.matching import fold, join
from coupling.choices import VARIANTS
from coupling.dataset import per_prompt
from coupling.errors import CouplingError
from coupling.run_folder import open_run

SIZES = ("parameters", "depth", "width")
PUBLISHED_FAMILIES = {
    "Llama-2": "Llama-2", "Orca-2": "Llama-2", "vicuna": "Llama-2", "Meta-Llama-3": "Llama-3", "Mistral": "Mistral",
    "OLMo": "OLMo", "falcon2": "Falcon2", "gemma": "Gemma", "gpt2": "GPT-2", "phi": "Phi", "pythia": "Pythia",
    "qwen1.5": "Qwen1.5", "qwen2": "Qwen2",
}  # fmt: skip
"""Families of the published models, by how their names begin; Orca 2 and Vicuna are fine-tunes of Llama 2."""

PUBLISHED_SCORE, PUBLISHED_BENCHMARK = "coupling", "leaderboard_average"


@dataclass
class Table:
    """What ``correlate`` works on.

    Attributes:
        frame: a row a model (the index); columns ``family``, ``parameters``, ``depth``, ``width``, the measures and
            the benchmarks; NaN where something is not known.
        measures: the columns that were measured on the model.
        benchmarks: the columns that they are to predict.
        primary: the measure that stands for coupling.
        left_out: (name, reason) of every run and every score without its counterpart.
        notes: what the reader should know of where the numbers come from.
        runs: what the runs say of themselves, a dictionary a run.
        controls: further columns that may explain a benchmark, treated as the sizes are.
        within: a column by whose values the models are also looked at apart, such as training steps.
    """

    frame: pd.DataFrame
    measures: list[str]
    benchmarks: list[str]
    primary: str
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    controls: tuple[str, ...] = ()
    within: str | None = None


def measure_name(quantity: str, k: int, norm: int, variant: str = "absolute") -> str:
    """What a measure is called: ``excess K=10 p=2``, ``coupling K=10 p=1 signed``."""
    return f"{quantity} K={k} p={norm}" + ("" if variant == "absolute" else f" {variant}")


def measures_of(run: xr.Dataset) -> dict[str, float]:
    """Every score that a run holds, by name.

    For each K, p and variant: coupling (the mean over pairs and prompts), and excess, the share of chance's mismatch
    that is gone. For each K and p the chance level, which a score that merely reflects the spectrum goes with. Then the
    medians over tokens of line-shape score, expodistance and growth of the residual norm.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
    """
    names = [str(name) for name in run if str(name).startswith(("mismatch", "chance"))]
    means = {name: per_prompt(run, name).mean("prompt") for name in names}
    held = [(k, norm) for k in run.k.values.tolist() for norm in run.norm.values.tolist()]
    excess, coupling, chances = {}, {}, {}
    for k, norm in held:
        chances[measure_name("chance", k, norm)] = 1 - float(means["chance"].sel(k=k, norm=norm))
        for variant in VARIANTS:
            mismatch = float(means[variant.variable()].sel(k=k, norm=norm))
            chance = float(means[variant.variable("chance")].sel(k=k, norm=norm))
            excess[measure_name("excess", k, norm, variant.label)] = float(metrics.excess(mismatch, chance))
            coupling[measure_name("coupling", k, norm, variant.label)] = 1 - mismatch
    growth = run.residual_norm.isel(layer=-1) / run.residual_norm.isel(layer=0)
    medians = {
        "line-shape score": float(run.line_shape_score.median()),
        "expodistance": float(run.expodistance.median()),
        "residual growth": float(growth.median()),
    }
    return excess | coupling | chances | medians


def read_runs(folders: Sequence[str | Path]) -> tuple[pd.DataFrame, list[str], list[dict[str, Any]], list[str]]:
    """Open runs, and lay their scores and sizes out.

    Args:
        folders: finished runs.

    Returns:
        A row a run (not indexed by model yet), the names of the measures, what the runs say of themselves, and notes.

    Raises:
        CouplingError: if a folder holds no run or one of random weights, or the runs are of different kinds.
    """
    runs = [open_run(folder) for folder in folders]
    for run, folder in zip(runs, folders, strict=True):
        if run.attrs.get("weights") == "random":
            raise CouplingError(f"{folder} measured random weights, which have no benchmark score; leave it out")
    described = [describe(run, str(folder)) for run, folder in zip(runs, folders, strict=True)]
    kinds = sorted({one["kind"] for one in described})
    if len(kinds) > 1:
        raise CouplingError(f"the runs are of different kinds ({', '.join(kinds)}), so their scores do not compare")
    rows: list[dict[str, Any]] = []
    for run, one in zip(runs, described, strict=True):
        row: dict[str, Any] = {"folder": one["folder"], "model": one["model"]}
        row |= {"parameters": _number(run.attrs.get("parameters")), "depth": float(run.sizes["layer"] - 1),
                "width": _number(run.attrs.get("width"))}  # fmt: skip
        rows.append(row | measures_of(run))
    frame = pd.DataFrame(rows)
    notes = []
    for key, what in (("prompts_hash", "prompts"), ("dtype", "precision"), ("k", "K")):
        values = {str(one[key]) for one in described}
        if len(values) > 1:
            notes.append(f"the runs were not all measured with the same {what}")
    if frame["width"].isna().any():
        notes.append(f"{int(frame['width'].isna().sum())} of {len(frame)} runs do not say their width")
    measures = [name for name in frame.columns if name not in ("folder", "model", *SIZES)]
    return frame, measures, described, notes


def describe(run: xr.Dataset, folder: str) -> dict[str, Any]:
    """What a run says of itself, as far as it matters to a comparison."""
    said = {key: str(run.attrs.get(key, "")) for key in ("architecture", "kind", "prompts", "prompts_hash", "dtype")}
    return {"folder": folder, "model": str(run.attrs.get("model", folder)), "k": run.k.values.tolist()} | said


def join_table(
    folders: Sequence[str | Path], scores: Scores, aliases: Mapping[str, str] | None = None
) -> Table:  # fmt: skip
    """Runs and benchmark scores, joined on the model.

    Args:
        folders: finished runs.
        scores: what ``read_scores`` returned.
        aliases: see ``join``.

    Raises:
        CouplingError: see ``read_runs`` and ``join``; and if no run has a score.
    """
    runs, measures, described, notes = read_runs(folders)
    models = runs["model"].to_list()
    joined = join(models, scores.benchmarks.index.to_list(), aliases, runs["folder"].to_list())
    if not joined.pairs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in joined.left_out[: min(3, len(folders))])
        raise CouplingError(
            f"no run has scores in {scores.source} ({reasons}); give other --scores, or say which is which with --alias"
        )
    kept = sorted(joined.pairs)
    frame = runs.loc[kept].reset_index(drop=True)
    names = [joined.pairs[at] for at in kept]
    benchmarks = list(scores.benchmarks.columns)
    for benchmark in benchmarks:
        frame[benchmark_column(benchmark, measures)] = scores.benchmarks.loc[names, benchmark].to_numpy()
    for size in scores.sizes.columns:  # a run counts its own model; the table fills what a run does not say
        frame[size] = frame[size].fillna(pd.Series(scores.sizes.loc[names, size].to_numpy()))
    architectures = [described[at]["architecture"] for at in kept]
    named = families_of(names, architectures)
    frame["family"] = [scores.families.get(name) or family for name, family in zip(names, named, strict=True)]
    aliased = [f"{models[at]} is {joined.pairs[at]} of the scores (by {how})"
               for at, how in joined.how.items() if how != "exact"]  # fmt: skip
    frame.index = pd.Index(names, name="model")
    return Table(
        frame.drop(columns="model"), measures, [benchmark_column(name, measures) for name in benchmarks],
        default_measure(frame, measures), joined.left_out, notes + aliased + scores.notes, described,
    )  # fmt: skip


def benchmark_column(benchmark: str, measures: Sequence[str]) -> str:
    """A benchmark's name, set apart where a size or a measure has the same."""
    taken = {*measures, *SIZES, "family", "model", "folder"}
    return f"{benchmark} (benchmark)" if benchmark in taken else benchmark


def default_measure(frame: pd.DataFrame, measures: Sequence[str]) -> str:
    """The excess over chance at p = 2 and the largest K among those that most models hold, or the first measure.

    The excess, because a score alone mixes in what a flat spectrum gives; p = 2, though p = 1 says all but the same.
    """
    found = [(int(frame[name].notna().sum()), int(m[1]), name)
             for name in measures if (m := re.fullmatch(r"excess K=(\d+) p=2", name))]  # fmt: skip
    return max(found)[2] if found else measures[0]


def families_of(names: Sequence[str], architectures: Sequence[str]) -> list[str]:
    """The family of each model: what stands before the size in its name.

    ``EleutherAI/pythia-160m-deduped`` is of pythia, ``Qwen1.5-0.5B`` of qwen1.5, ``gpt2-large`` of gpt2, and so is
    ``gpt2`` beside it. A name without a size is else of the family of its architecture where the run's configuration
    tells it, or one of its own. A fine-tune under another name, such as Vicuna of Llama 2, is a family of its own: a
    column ``family`` of the scores says it better.

    Args:
        names: models' names.
        architectures: their classes, such as ``LlamaModel``; empty where not known.
    """
    prefixes = {prefix for name in names if (prefix := family_of(name))}
    found = []
    for name, architecture in zip(names, architectures, strict=True):
        last = name.rstrip("/").rsplit("/", 1)[-1].casefold()
        found.append(family_of(name) or (last if last in prefixes else architecture or fold(name)))
    return found


def family_of(name: str) -> str:
    """What stands before the size in a model's name; empty if it says no size."""
    last = name.rstrip("/").rsplit("/", 1)[-1].casefold()
    size = re.search(r"[-_ ](?:(?:\d+x)?\d+(?:[._]\d+)?[mbt]\d?|small|medium|large|xl|base|tiny|mini)(?=[-_ ]|$)", last)
    if size is not None and size.start():
        return last[: size.start()]
    return ""


def published_table() -> Table:
    """The 28 published points; their source is in ``coupling/data/README.md``."""
    content = files("coupling").joinpath("data/paper_figure1a.csv").read_text(encoding="utf-8")
    lines = [line.split(",") for line in content.split()]
    scores = scores_from(pd.DataFrame(lines[1:], columns=lines[0]), "the published points")
    frame = scores.benchmarks.join(scores.sizes)
    frame["family"] = [
        next(family for start, family in PUBLISHED_FAMILIES.items() if name.startswith(start)) for name in frame.index
    ]
    return Table(frame, [PUBLISHED_SCORE], [PUBLISHED_BENCHMARK], PUBLISHED_SCORE, notes=[
        "coupling and leaderboard average were digitised from Figure 1(a) of Aubry et al. (2025): "
        "about ±0.0002 and ±0.1",
    ])  # fmt: skip


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float, np.number)) else np.nan
