"""The tables of the study of real models: every measure of every run, and how it falls with the distance of blocks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from coupling import calibrated, summary
from coupling.dataset import off_diagonal
from coupling.files import write_atomically
from coupling.metrics import excess

MEASURES, DISTANCES = "real-models.csv", "real-models-distance.csv"
"""The files."""
DISTANCE_K = 10
"""The K of the table of distances."""
DIGITS = 6

Runs = Mapping[tuple[str, str, str], xr.Dataset]
"""Runs by model, weights ("trained" or "random") and kind."""


def measures_table(runs: Runs) -> pd.DataFrame:
    """One row per run, K and measure: coupling at p = 1 and p = 2, and the calibrated measures.

    Args:
        runs: the runs.

    Returns:
        Columns ``model``, ``weights``, ``kind``, ``prompts``, ``k``, ``k_name``, ``measure``, ``value``, ``chance``,
        ``excess`` (of coupling), ``z`` (of the calibrated measures) and ``sd_over_prompts``.
    """
    rows: list[dict[str, Any]] = []
    for (model, weights, kind), run in runs.items():
        place = {"model": model, "weights": weights, "kind": kind, "prompts": run.sizes["prompt"]}
        found = summary.summarize(run)
        for row in found["scores"]:
            if row["variant"] == "absolute":
                numbers = {"value": row["score"], "chance": row["chance"], "excess": row["excess"]}
                rows.append(
                    place
                    | {"k": row["k"], "k_name": row["k_name"], "measure": f"coupling p={row['norm']}"}
                    | numbers
                    | {"sd_over_prompts": row["sd_over_prompts"]}
                )
        for row in found["calibrated"]:
            kept = ("k", "k_name", "value", "chance", "z", "sd_over_prompts")
            rows.append(place | {"measure": row["label"]} | {key: row[key] for key in kept})
    columns = ["model", "weights", "kind", "prompts", "k", "k_name", "measure", "value", "chance", "excess", "z"]
    return pd.DataFrame(rows)[[*columns, "sd_over_prompts"]]


def distance_table(runs: Runs) -> pd.DataFrame:
    """How coupling across depth depends on the distance of two blocks; one row per run and distance.

    Args:
        runs: the runs; those that compare tokens are left out.
    """
    rows: list[dict[str, Any]] = []
    for (model, weights, kind), run in runs.items():
        if kind != "depth" or DISTANCE_K not in run.k:
            continue
        chosen = run.sel(k=DISTANCE_K)
        apart = np.abs(run.block.values[:, None] - run.block.values[None])
        energy, share = (off_diagonal(chosen, name).values for name in (calibrated.WHOLE, calibrated.POOLED))
        mismatch, chance = (off_diagonal(chosen, name).sel(norm=2).values for name in ("mismatch", "chance"))
        for distance in range(1, int(apart.max()) + 1):
            at = apart == distance
            captured = energy[:, at]
            rows.append(
                {
                    "model": model,
                    "weights": weights,
                    "distance": distance,
                    "pairs": int(at.sum()),
                    "coupling": 1 - mismatch[:, at].mean(),
                    "chance": 1 - chance[:, at].mean(),
                    "excess": float(excess(mismatch[:, at].mean(), chance[:, at].mean())),
                    "strongest coupling": 1 - mismatch[:, at].mean(axis=0).min(),
                    "aligned energy": captured.mean(),
                    "diagonal share": (captured * share[:, at]).mean() / captured.mean(),
                }
            )
    return pd.DataFrame(rows)


def write_results(runs: Runs, folder: Path) -> list[Path]:
    """Write the tables.

    Args:
        runs: the runs that are finished.
        folder: where the tables go.

    Returns:
        The files.
    """
    paths = []
    for name, table in ((MEASURES, measures_table(runs)), (DISTANCES, distance_table(runs))):
        write_atomically(folder / name, table.round(DIGITS).to_csv(index=False).encode())
        paths.append(folder / name)
    return paths
