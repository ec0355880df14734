"""The published points, and where runs stand among them, if they can be compared at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coupling.analyses.correlation.association import RESAMPLES
from coupling.analyses.correlation.benchmark_scores import LEADERBOARD, read_scores
from coupling.analyses.correlation.correlate import Progress, correlate, headline
from coupling.analyses.correlation.matching import parse_aliases
from coupling.analyses.correlation.models import join_table, measure_name, published_table
from coupling.errors import CouplingError

NORM = 1
"""The published points are coupling at p = 1."""


def correlate_published(
    folders: Sequence[str | Path] = (), scores: str | None = None, *, aliases: Sequence[str] = (),
    benchmark: str | None = None, seed: int = 0, resamples: int = RESAMPLES, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Correlate the published points; place runs among them.

    The statistics are those of the published points alone: a run is never mixed in, whether or not it can be compared.

    Args:
        folders: finished runs to place.
        scores: where the runs' benchmark scores come from; default: the bundled leaderboard.
        aliases: see ``correlate_runs``.
        benchmark: the column of the scores that stands for the leaderboard's average; default: see ``headline``.
        seed: of permutations and bootstrap.
        resamples: how many of each.
        progress: see ``Progress``.

    Returns:
        See ``correlate``; with runs also ``measured``, a row a run: its score at p = 1 and its largest K, its benchmark
        score, and ``differs``, in what it was measured otherwise, so that the two cannot be compared.

    Raises:
        CouplingError: if a run or the scores are at fault; see ``correlate`` and ``join_table``.
    """
    result = correlate(published_table(), seed=seed, resamples=resamples, progress=progress)
    if not folders:
        return result
    table = join_table(folders, read_scores(scores or LEADERBOARD), parse_aliases(aliases))
    chosen = benchmark or headline(table.benchmarks)
    if chosen not in table.benchmarks:
        raise CouplingError(f"there is no benchmark {chosen!r}; there are {', '.join(table.benchmarks)}")
    names = [name for name in table.measures if name.startswith("coupling ") and name.endswith(f"p={NORM}")]
    measured, left_out = [], list(table.left_out)
    described = {run["folder"]: run for run in table.runs}
    for model, row in table.frame.iterrows():
        run = described[row["folder"]]
        k = max(run["k"])
        score = float(row[measure_name("coupling", k, NORM)]) if names else float("nan")
        if score != score or row[chosen] != row[chosen]:
            left_out.append((str(model), f"no score at p = {NORM}" if score != score else f"no {chosen}"))
            continue
        measured.append({
            "model": str(model),
            "folder": run["folder"],
            "k": k,
            "score": score,
            "benchmark_name": chosen,
            "benchmark": float(row[chosen]),
            "differs": differences(run, k),
        })  # fmt: skip
    return result | {
        "measured": measured,
        "left_out": [{"name": name, "reason": reason} for name, reason in left_out],
        "notes": [*result["notes"], *table.notes],
    }


def differences(run: dict[str, Any], k: int) -> list[str]:
    """In what a run was measured otherwise than the published points, or may have been.

    Args:
        run: what ``read_runs`` says of it.
        k: the number of top singular vectors that its score is of.
    """
    found = []
    if run["kind"] != "depth":
        found.append(f"kind {run['kind']}, the published points are across depth")
    found.append(f"K = {k}, the published points do not state theirs, and the score grows with K")
    found.append(f"prompts {run['prompts'] or 'not stated'}, the published points are averages over the benchmark's")
    return found
