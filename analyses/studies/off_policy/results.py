"""What the study's results say: the area under the held-out reward, lost peaks, and intervals over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from coupling.analyses.studies.off_policy.design import EVERY, FROM, OBJECTIVES, Planned
from coupling.analyses.studies.resumable import read_result
from coupling.files import write_atomically

SMOOTHED = 3
"""Measurements of the held-out reward that are averaged before the peak and the end are taken."""
DRAWS = 10_000
"""Resamples of the bootstrap."""
LEVEL = 0.95
REFERENCE = OBJECTIVES[0].name
"""The objective that the others are compared with, seed by seed."""


def read_curves(plans: Sequence[Planned], out: Path) -> pd.DataFrame:
    """The curves of all runs that have a result, one row per run and measurement.

    Returns:
        ``condition``, ``objective``, ``seed``, ``ended`` and the columns of the results; empty without results.
    """
    parts = []
    for plan in plans:
        result = read_result(plan, out)
        if result is not None:
            labels = {name: result[name] for name in ("condition", "objective", "seed", "ended")}
            parts.append(pd.DataFrame(result["columns"]).assign(**labels))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def by_run(curves: pd.DataFrame, steps: int) -> pd.DataFrame:
    """One row per run.

    Args:
        curves: the table of ``read_curves``.
        steps: the number of updates that were planned; a run that diverged before has a reward of 0 after its end.

    Returns:
        ``condition``, ``objective``, ``seed``; ``area``, the mean held-out reward from update ``FROM`` on (by the
        trapezoid rule); ``start``, ``peak`` and ``end``, the first reward, and the highest and last mean of
        ``SMOOTHED`` consecutive ones; ``lost``, whether the end is less than half the peak; ``ess`` and ``ess_micro``,
        the effective sample size of the whole update and the mean over its micro-batches, and ``kl``, as means from
        update ``FROM`` on.
    """
    keys = ["condition", "objective", "seed"]
    rows = []
    for key, part in curves.groupby(keys, sort=False):
        x, y = part["step"].to_numpy(float), part["held_out_reward"].to_numpy(float)
        if str(part["ended"].iloc[0]) != "finished" and x[-1] < steps:
            x = np.append(x, np.arange(x[-1] + EVERY, steps + 1, EVERY))
            y = np.append(y, np.zeros(len(x) - len(y)))
        smooth = np.convolve(y, np.ones(SMOOTHED) / SMOOTHED, mode="valid") if len(y) >= SMOOTHED else y
        late = part[part["step"] > FROM]
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"area": area(x, y), "start": y[0], "peak": smooth.max(), "end": smooth[-1]}
            | {"lost": bool(smooth[-1] < smooth.max() / 2)}
            | {name: late[name].mean() if name in late else np.nan for name in ("ess", "ess_micro", "kl")}
        )
    return pd.DataFrame(rows)


def area(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], start: float = FROM) -> float:
    """The mean of a curve from ``start`` on, by the trapezoid rule; NaN if the curve ends before.

    Example:
        >>> area(np.array([0.0, 60.0, 80.0]), np.array([9.0, 1.0, 3.0]))
        2.0
    """
    kept = x >= start
    if kept.sum() < 2:
        return float("nan")
    return float(np.trapezoid(y[kept], x[kept]) / (x[kept][-1] - x[kept][0]))


def interval(values: Float[np.ndarray, " seeds"], seed: int = 0) -> tuple[float, float]:
    """The bootstrap interval of a mean over seeds, by percentiles; NaN with fewer than two seeds.

    Example:
        >>> low, high = interval(np.array([0.4, 0.5, 0.6]))
        >>> bool(0.4 <= low < 0.5 < high <= 0.6)
        True
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def by_objective(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per condition and objective.

    Args:
        runs: the table of ``by_run``.

    Returns:
        ``seeds``, their number; ``area`` with ``area_low`` and ``area_high``; ``lost``, the share of runs that lost
        half their peak, with its number ``n_lost``; ``end``, ``ess``, ``ess_micro`` and ``kl`` as means; and
        ``difference`` with ``difference_low`` and ``difference_high``: the area minus that of ``REFERENCE`` with the
        same seed, over the ``pairs`` seeds that have both.
    """
    rows = []
    for (condition, objective), part in runs.groupby(["condition", "objective"], sort=False):
        reference: Any = runs[(runs["condition"] == condition) & (runs["objective"] == REFERENCE)]
        paired = part.merge(reference, on="seed", suffixes=("", "_reference"))
        differences = (paired["area"] - paired["area_reference"]).to_numpy(float)
        own = objective == REFERENCE
        low, high = interval(part["area"].to_numpy(float))
        less, more = (np.nan, np.nan) if own else interval(differences)
        rows.append(
            {"condition": condition, "objective": objective, "seeds": len(part)}
            | {"area": part["area"].mean(), "area_low": low, "area_high": high}
            | {"lost": part["lost"].mean(), "n_lost": int(part["lost"].sum())}
            | {name: part[name].mean() for name in ("end", "ess", "ess_micro", "kl")}
            | {"pairs": 0 if own else len(differences)}
            | {"difference": np.nan if own or not len(differences) else differences.mean()}
            | {"difference_low": less, "difference_high": more}
        )
    return pd.DataFrame(rows)


def write_results(plans: Sequence[Planned], out: Path) -> str:
    """Write ``off-policy.csv``, ``off-policy-runs.csv`` and ``off-policy.png`` beside the folder of the results.

    Args:
        plans: all planned runs.
        out: the folder of the results.

    Returns:
        How many of the planned runs have a result, and the table.

    Raises:
        CouplingError: if a file cannot be written.
    """
    curves = read_curves(plans, out)
    if curves.empty:
        return f"0 of {len(plans)} planned runs are finished"
    runs = by_run(curves, plans[0].steps)
    table = by_objective(runs)
    for name, content in (("off-policy.csv", table), ("off-policy-runs.csv", runs)):
        write_atomically(out.parent / name, content.round(4).to_csv(index=False).encode())
    from coupling import figures
    from coupling.analyses.studies.off_policy.picture import draw

    figures.save(draw(curves), out.parent / "off-policy.png")
    return f"{len(runs)} of {len(plans)} planned runs are finished\n{table.round(3).to_string(index=False)}"
