"""Results of P3O's experiments: one row per run, one row per case, correlations with reward, and the pictures."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from coupling.analyses.correlation.association import is_constant
from coupling.files import write_atomically

LAST = 10
"""The number of steps at the end of a run whose mean is its result."""
FIRST = 3
"""The number of steps with a reward whose mean is the reward at the start."""
EARLY = ("excess_early", "mismatch_early")
LATE = ("excess", "mismatch_to_initial", "kl", "ess")


def by_run(steps: pd.DataFrame) -> pd.DataFrame:
    """One row per run.

    Args:
        steps: one row per run and step, of ``coupling.analyses.studies.p3o.experiments.collect``.

    Returns:
        The columns ``experiment``, ``run``, ``seed``, ``steps`` and the following. ``reward`` is that of the rollouts,
        whichever policy sampled them; ``held_out`` is the trained policy's own. Each has its value at the start
        (``_start``) and over the last steps (no suffix); coupling and ``held_out`` also that of the first measurement
        after the start (``_early``). ``ess`` and ``kl`` are means over all steps, ``ess_min`` is the least.
    """
    runs: Any = steps.groupby(["experiment", "run", "seed"], sort=False)
    return pd.DataFrame(
        [
            {"experiment": experiment, "run": name, "seed": seed} | _run_result(rows)
            for (experiment, name, seed), rows in runs
        ]
    )


def _run_result(rows: pd.DataFrame) -> dict[str, Any]:
    """The result of one run from its steps; see ``by_run``."""
    n_steps = int(rows["step"].to_numpy().max())
    last = rows[rows["step"] > n_steps - LAST]
    measured = rows.dropna(subset=["score"])
    held_out = rows["held_out_reward"].dropna()
    start, end = measured.iloc[0], measured.iloc[-1]
    early = measured.iloc[min(1, len(measured) - 1)]
    return {
        "steps": n_steps,
        "reward_start": rows["reward"].dropna().iloc[:FIRST].mean(),
        "reward": last["reward"].mean(),
        "held_out_start": held_out.iloc[0],
        "held_out": last["held_out_reward"].mean(),
        "held_out_early": held_out.iloc[min(1, len(held_out) - 1)],
        "ess": rows["ess"].mean(),
        "ess_min": rows["ess"].min(),
        "kl": rows["kl"].mean(),
        "score_start": start["score"],
        "score": end["score"],
        "excess_start": start["excess"],
        "excess_early": early["excess"],
        "excess": end["excess"],
        "mismatch_early": early["mismatch_to_initial"],
        "mismatch_to_initial": end["mismatch_to_initial"],
    }


def by_case(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per case: means over seeds of the columns of ``by_run``, and the standard deviations of the rewards.

    Args:
        runs: the table of ``by_run``.

    Returns:
        The columns of ``by_run`` without ``seed`` (``ess_min`` is the least of all seeds); ``seeds``, their number;
        ``reward_sd`` and ``held_out_sd``.
    """
    grouped: Any = runs.groupby(["experiment", "run"], sort=False)
    means = grouped.mean(numeric_only=True).drop(columns="seed").assign(ess_min=grouped["ess_min"].min())
    deviations = grouped[["reward", "held_out"]].std(ddof=1).add_suffix("_sd")
    return pd.concat([grouped.size().rename("seeds"), means, deviations], axis=1).reset_index()


def ruined(runs: pd.DataFrame) -> pd.Series:
    """Whether each run of ``by_run`` ended with less reward than it began with, or diverged before its end."""
    kept: Any = runs["held_out"] >= runs["held_out_start"]  # false for NaN, of a run that diverged
    return ~kept


def reward_correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation over runs of the policy's reward at the end with coupling, KL and sample size.

    Args:
        runs: the table of ``by_run``.

    Returns:
        One row per quantity and group of runs ("all", and "sound": those that are not ``ruined``): ``runs``, their
        number, ``spearman`` and ``p``. Runs of one seed share their start, so p is too small. Both are NaN if the
        quantity is the same in all runs, or the group has fewer than three runs.
    """
    rows: list[dict[str, Any]] = []
    groups: dict[str, Any] = {"all": runs, "sound": runs[~ruined(runs)]}
    for group, part in groups.items():
        for name in (*EARLY, *LATE):
            complete = part.dropna(subset=[name, "held_out"])
            values, rewards = complete[name].to_numpy(), complete["held_out"].to_numpy()
            undefined = len(complete) < 3 or is_constant(values) or is_constant(rewards)
            rho, p = (math.nan, math.nan) if undefined else spearmanr(values, rewards)
            rows.append({"group": group, "quantity": name, "runs": len(complete), "spearman": rho, "p": p})
    return pd.DataFrame(rows)


def write_results(steps: pd.DataFrame, out: Path) -> None:
    """Write ``p3o.csv`` (one row per case), ``p3o-runs.csv`` (one row per run) and ``p3o-EXPERIMENT.png``; print them.

    The reward in the pictures is the policy's own.

    Args:
        steps: see ``by_run``.
        out: an existing folder.

    Raises:
        CouplingError: if a file cannot be written.
    """
    from coupling import figures

    runs = by_run(steps)
    cases = by_case(runs)
    for name, table in (("p3o.csv", cases), ("p3o-runs.csv", runs)):
        write_atomically(out / name, table.round(4).to_csv(index=False).encode())
    for experiment, part in steps.groupby("experiment", sort=False):
        figures.save(figures.rl(part.assign(reward=part["held_out_reward"])), out / f"p3o-{experiment}.png")
    print(cases.round(4).to_string(index=False))
    print(reward_correlations(runs).round(3).to_string(index=False))
