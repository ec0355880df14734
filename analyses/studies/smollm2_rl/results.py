"""What the study's results say: one row per run, and the difference between the objectives seed by seed."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from coupling.analyses.studies.resumable import read_result
from coupling.analyses.studies.smollm2_rl.design import Planned
from coupling.files import write_atomically

MEANS = ("ess", "kl", "entropy")
"""Columns whose means over the updates are given."""
MEASURED = ("score", "excess", "mismatch_to_initial")
"""Columns of which the first and the last value are given; the last is missing until the run is finished."""


def read_curves(plans: Sequence[Planned], out: Path) -> pd.DataFrame:
    """The curves of all runs that have a result, one row per run and measurement.

    Returns:
        ``objective``, ``seed``, ``ended``, ``seconds``, ``device`` and the columns of the results; empty without
        results.
    """
    parts = []
    for plan in plans:
        result = read_result(plan, out)
        if result is not None:
            labels = {name: result[name] for name in ("objective", "seed", "ended", "seconds", "device")}
            parts.append(pd.DataFrame(result["columns"], dtype=float).assign(**labels))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def by_run(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run.

    Args:
        curves: the table of ``read_curves``.

    Returns:
        ``objective``, ``seed``, ``ended``; ``updates``, how many there are; ``start``, ``end`` and ``area``, the first,
        the last and the mean chance of the right answer on the held-out prompts, the mean by the trapezoid rule; the
        means of ``MEANS``; of each of ``MEASURED`` the first and last value; ``seconds`` of processor time.
    """
    rows = []
    for (objective, seed), part in curves.groupby(["objective", "seed"], sort=False):
        steps, chance = part["step"], part["held_out_reward"]
        span = steps.iloc[-1] - steps.iloc[0]
        widths, heights = steps.diff(), chance.rolling(2).mean()
        rows.append(
            {"objective": objective, "seed": seed, "ended": part["ended"].iloc[0], "updates": int(steps.iloc[-1])}
            | {"start": chance.iloc[0], "end": chance.iloc[-1]}
            | {"area": float((widths * heights).sum() / span) if span else chance.iloc[0]}
            | {name: part[name].mean() for name in MEANS}
            | {f"{name}_{at}": part[name].iloc[index] for name in MEASURED for at, index in (("start", 0), ("end", -1))}
            | {"seconds": part["seconds"].iloc[0]}
        )
    return pd.DataFrame(rows)


def write_results(plans: Sequence[Planned], out: Path) -> str:
    """Write ``smollm2-rl.csv`` and ``smollm2-rl.png`` beside the folder of the results.

    Args:
        plans: all planned runs.
        out: the folder of the results.

    Returns:
        How many updates of each run are there, and the table.

    Raises:
        CouplingError: if a file cannot be written.
    """
    curves = read_curves(plans, out)
    planned = sum(plan.steps for plan in plans)
    if curves.empty:
        return f"0 of {planned} planned updates are made"
    runs = by_run(curves)
    write_atomically(out.parent / "smollm2-rl.csv", runs.round(4).to_csv(index=False).encode())
    from coupling import figures
    from coupling.analyses.studies.smollm2_rl.picture import draw

    figures.save(draw(curves), out.parent / "smollm2-rl.png")
    return f"{runs['updates'].sum()} of {planned} planned updates are made\n{runs.round(3).to_string(index=False)}"
