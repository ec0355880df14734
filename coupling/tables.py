"""Many runs as one table, a row for each: what somebody reads who chooses between checkpoints."""

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from coupling.choices import variant_of
from coupling.dataset import input_word
from coupling.errors import CouplingError
from coupling.shares import K, find_k, k_names
from coupling.sinks import without_first
from coupling.summary import calibrated_rows, summarize
from coupling.uncertainty import excess_estimate

COLUMNS = (
    "run", "model", "weights", "kind", "prompts", "blocks", "width", "k", "norm", "score", "chance", "excess",
    "excess_se", "diagonal_share", "line_shape_score", "expodistance",
)  # fmt: skip
"""What the table contains: names and sizes, numbers at one K and norm, medians over tokens."""


def run_table(
    runs: Mapping[str, xr.Dataset], k: K | None = None, norm: int = 2, sort: str | None = None
) -> pd.DataFrame:
    """One row for each run: its score, chance level and excess at one K and norm, and medians of its trajectories.

    Args:
        runs: Datasets of ``measure`` or ``analyze`` by name.
        k: number of top singular vectors, or a share of the width such as "10%". Default: for each run its largest,
            which the column ``k`` shows.
        norm: p, 1 or 2.
        sort: the column to sort by, numbers from the largest; default: the order of ``runs``.

    Returns:
        A table with ``COLUMNS``; ``excess_se`` is the standard error over prompts or images, whichever
        ``table.attrs["inputs"]`` names.

    Raises:
        CouplingError: if a run has no such K or norm, or there is no such column.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os", "def main():"], k=3)
        >>> coupling.run_table({"a": run}).loc[0, ["run", "kind", "k"]].tolist()
        ['a', 'depth', '3']
    """
    if sort is not None and sort not in COLUMNS:
        raise CouplingError(f"`sort` is {sort!r}, but must be a column: {', '.join(COLUMNS)}")
    table = pd.DataFrame([_row(name, run, k, norm) for name, run in runs.items()], columns=list(COLUMNS))
    table.attrs["inputs"] = f"{input_word(*runs.values())}s"
    if sort is None:
        return table
    is_number = pd.api.types.is_numeric_dtype(table[sort])
    return table.sort_values(sort, ascending=not is_number, kind="stable", ignore_index=True)


def _row(name: str, run: xr.Dataset, k: K | None, norm: int) -> dict[str, object]:
    chosen = int(run.k.values[-1]) if k is None else find_k(run, k)
    summary = summarize(run)
    absolute = variant_of().label
    score = next(
        row for row in summary["scores"] if (row["k"], row["norm"], row["variant"]) == (chosen, norm, absolute)
    )
    run = without_first(run)
    estimate = excess_estimate(run, chosen, norm)
    shares = [row["value"] for row in calibrated_rows(run) if (row["k"], row["measure"]) == (chosen, "diagonal_share")]
    tokens = summary["tokens"]
    return {
        "run": name,
        "model": run.attrs.get("model", ""),
        "weights": run.attrs.get("weights", ""),
        "kind": run.attrs.get("kind", "depth"),
        "prompts": summary["prompts"],
        "blocks": summary["blocks"],
        "width": run.attrs.get("width"),
        "k": dict(zip(run.k.values.tolist(), k_names(run), strict=True))[chosen],
        "norm": norm,
        "score": score["score"],
        "chance": score["chance"],
        "excess": score["excess"],
        "excess_se": estimate.standard_error,
        "diagonal_share": shares[0] if shares else None,
        "line_shape_score": tokens["line_shape_score"]["median"],
        "expodistance": tokens["expodistance"]["median"],
    }
