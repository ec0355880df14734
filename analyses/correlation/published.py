"""The published points, and where runs stand among them, if the two can be compared at all."""

import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation import association
from coupling.analyses.correlation.association import RESAMPLES
from coupling.analyses.correlation.benchmark_scores import read_scores, scores_from
from coupling.analyses.correlation.chance_level import against_chance, chance_at_a_tenth, with_chance
from coupling.analyses.correlation.correlate import Progress, correlate
from coupling.analyses.correlation.matching import parse_aliases
from coupling.analyses.correlation.measures import largest_k, measure_name
from coupling.analyses.correlation.models import ModelTable, join_table
from coupling.analyses.correlation.scatter import chosen, headline
from coupling.analyses.correlation.sources import LEADERBOARD

FAMILIES = {
    "Llama-2": "Llama-2",
    "Orca-2": "Llama-2",
    "vicuna": "Llama-2",
    "Meta-Llama-3": "Llama-3",
    "Mistral": "Mistral",
    "OLMo": "OLMo",
    "falcon2": "Falcon2",
    "gemma": "Gemma",
    "gpt2": "GPT-2",
    "phi": "Phi",
    "pythia": "Pythia",
    "qwen1.5": "Qwen1.5",
    "qwen2": "Qwen2",
}
"""The families of the published models, by how their names begin; Orca 2 and Vicuna are fine-tunes of Llama 2."""

SCORE, BENCHMARK = "coupling", "leaderboard_average"
"""The columns of the published points."""

NORM = 1
"""The published points are coupling at p = 1."""


def published_table() -> ModelTable:
    """The 28 published points; ``coupling/data/README.md`` states their source."""
    content = files("coupling").joinpath("data/paper_figure1a.csv").read_text(encoding="utf-8")
    scores = scores_from(pd.read_csv(io.StringIO(content), dtype=str), "the published points")
    frame = scores.benchmarks.join(scores.sizes)
    frame["family"] = [
        next(family for start, family in FAMILIES.items() if name.startswith(start)) for name in frame.index
    ]
    source = (
        "coupling and leaderboard average were digitized from Figure 1(a) of Aubry et al. (2025): about ±0.0002 and "
        "±0.1"
    )
    return ModelTable(frame, measures=[SCORE], benchmarks=[BENCHMARK], primary=SCORE, notes=[source])


def correlate_published(
    folders: Sequence[str | Path] = (),
    scores: str | None = None,
    *,
    aliases: Sequence[str] = (),
    benchmark: str | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Correlate the published points, and place runs among them.

    The statistics are those of the published points alone. Runs never enter them, whether or not they can be compared.

    Args:
        folders: finished runs to place.
        scores: the source of the runs' benchmark scores, see ``read_scores``; default: the bundled leaderboard.
        aliases: see ``correlate_runs``.
        benchmark: the column of the scores that stands for the leaderboard's average; default: see ``headline``.
        seed: seed of permutations and bootstrap.
        resamples: number of permutations, and of bootstrap samples.
        progress: see ``Progress``.

    Returns:
        See ``correlate``, and ``chance``: see ``against_chance``. With runs also ``measured``, one row per run: its
        score at p = 1 and K = 10% of the width, or else at its largest K, with its chance level; its benchmark score;
        whether it is ``comparable``; and ``differs``, the differences in how it was measured, because of which it is
        not.

    Raises:
        CouplingError: if a run or the scores are at fault; see ``correlate`` and ``join_table``.
    """
    table = published_table()
    result = correlate(with_chance(table), seed=seed, resamples=resamples, progress=progress)
    for point in result["points"]:
        point["chance"] = float(chance_at_a_tenth(point["width"]))
    result["chance"] = against_chance(table, SCORE, BENCHMARK, seed=seed, resamples=resamples)
    if not folders:
        return result
    placed = join_table(folders, read_scores(scores or LEADERBOARD), parse_aliases(aliases))
    benchmark = chosen(benchmark or headline(placed.benchmarks), placed.benchmarks, "benchmark")
    measured, left_out = _place(placed, benchmark)
    return result | {
        "measured": measured,
        "left_out": [{"name": name, "reason": reason} for name, reason in [*placed.left_out, *left_out]],
        "notes": [*result["notes"], *placed.notes],
    }


def _place(table: ModelTable, benchmark: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """One row per run that has both a score at p = 1 and a benchmark score; the others with the reason."""
    runs = {run["folder"]: run for run in table.runs}
    measured, left_out = [], []
    for model, row in table.frame.iterrows():
        run = runs[row["folder"]]
        k = run["tenth"] or str(largest_k(table.frame.columns[row.notna()]))
        name = measure_name("coupling", k, NORM)
        if name not in table.measures or pd.isna(row[name]):
            left_out.append((str(model), f"no score at p = {NORM}"))
        elif pd.isna(row[benchmark]):
            left_out.append((str(model), f"no {benchmark}"))
        else:
            differs = differences(run, k)
            measured.append(
                {
                    "model": str(model),
                    "folder": run["folder"],
                    "k": k,
                    "score": float(row[name]),
                    "chance": float(row[measure_name("chance", k, NORM)]),
                    "width": association.finite(row["width"]),
                    "benchmark_name": benchmark,
                    "benchmark": float(row[benchmark]),
                    "comparable": not differs,
                    "differs": differs,
                }
            )
    return measured, left_out


def differences(run: dict[str, Any], k: str) -> list[str]:
    """The ways in which a run was measured differently from the published points.

    Args:
        run: a description of the run, one of ``ModelTable.runs``.
        k: how the K of its score was asked for.
    """
    found = []
    if run["kind"] != "depth":
        found.append(f"kind {run['kind']}; the published points are across depth")
    elif not run["last_token"]:
        found.append("another token than the last one")
    if k != run["tenth"]:
        found.append(
            f"K = {k}; the published points were in all likelihood measured with K = 10% of the width, and the score "
            "grows with K (`k='10%'`)"
        )
    return found
