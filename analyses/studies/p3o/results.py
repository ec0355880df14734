"""What came of the experiments of RL: a row a run, a row a case, what goes with reward, and a picture an experiment."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from coupling.analyses.correlation.association import is_constant
from coupling.files import write_atomically

LAST = 10
"""The steps at the end of a run whose mean is its result."""
EARLY = ("excess_early", "mismatch_early")
LATE = ("excess", "mismatch_to_initial", "kl", "ess")


def by_run(steps: pd.DataFrame) -> pd.DataFrame:
    """A row a run.

    Args:
        steps: ``coupling.analyses.studies.p3o.experiments.collect``'s, a row a run and step.

    Returns:
        ``reward`` is that of the rollouts, whoever sampled them; ``held_out`` the policy's own. Each has the value at
        first (``_start``) and over the last steps; coupling also that of the first measurement after the start
        (``_early``). ``ess`` and ``kl`` are means over all steps, ``ess_min`` is the least.
    """
    rows = []
    for (experiment, name, seed), one in steps.groupby(["experiment", "run", "seed"], sort=False):
        late = one[one["step"] > one["step"].max() - LAST]
        first = one.dropna(subset=["reward"])["reward"].iloc[:3].mean()
        measured, held_out = one.dropna(subset=["score"]), one.dropna(subset=["held_out_reward"])["held_out_reward"]
        early = measured.iloc[min(1, len(measured) - 1)]
        rows.append({
            "experiment": experiment, "run": name, "seed": seed, "steps": int(one["step"].max()),
            "reward_start": first, "reward": late["reward"].mean(),
            "held_out_start": held_out.iloc[0], "held_out": late["held_out_reward"].mean(),
            "held_out_early": held_out.iloc[min(1, len(held_out) - 1)],
            "ess": one["ess"].mean(), "ess_min": one["ess"].min(), "kl": one["kl"].mean(),
            "score_start": measured["score"].iloc[0], "score": measured["score"].iloc[-1],
            "excess_start": measured["excess"].iloc[0], "excess_early": early["excess"],
            "excess": measured["excess"].iloc[-1], "mismatch_early": early["mismatch_to_initial"],
            "mismatch_to_initial": measured["mismatch_to_initial"].iloc[-1],
        })  # fmt: skip
    return pd.DataFrame(rows)


def by_case(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a case: means over seeds of ``by_run``'s columns (of ``ess_min`` the least), and its rewards' deviation."""
    grouped = runs.groupby(["experiment", "run"], sort=False)
    means = grouped.mean(numeric_only=True).drop(columns="seed").assign(ess_min=grouped["ess_min"].min())
    spread = grouped[["reward", "held_out"]].std(ddof=1).add_suffix("_sd")
    return pd.concat([grouped.size().rename("seeds"), means, spread], axis=1).reset_index()


def ruined(runs: pd.DataFrame) -> pd.Series:
    """Whether each run went bad: its policy ended with less reward than it began with, or diverged before its end."""
    return ~(runs["held_out"] >= runs["held_out_start"])


def goes_with_reward(runs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of the policy's reward at the end with coupling, KL and sample size over runs.

    Args:
        runs: ``by_run``'s.

    Returns:
        A row a quantity and group of runs (all; sound, those that are not ``ruined``): ``spearman``, ``p``, ``runs``.
        Runs of one seed share their start, so p is too small. NaN for what is the same in all
        runs, or of fewer than three.
    """
    rows: list[dict[str, Any]] = []
    for group, part in (("all", runs), ("sound", runs[~ruined(runs)])):
        for name in (*EARLY, *LATE):
            held = part.dropna(subset=[name, "held_out"])
            constant = len(held) < 3 or any(is_constant(held[column].to_numpy()) for column in (name, "held_out"))
            r, p = (math.nan, math.nan) if constant else spearmanr(held[name], held["held_out"])
            rows.append({"group": group, "quantity": name, "runs": len(held), "spearman": r, "p": p})
    return pd.DataFrame(rows)


def write_results(steps: pd.DataFrame, out: Path) -> None:
    """``p3o.csv`` (one row per case), ``p3o-runs.csv`` (one row per run), and the picture ``rl`` of each experiment.

    The pictures' reward is the policy's own.
    """
    from coupling import figures

    runs = by_run(steps)
    cases = by_case(runs)
    for name, table in (("p3o.csv", cases), ("p3o-runs.csv", runs)):
        write_atomically(out / name, table.round(4).to_csv(index=False).encode())
    for experiment, part in steps.groupby("experiment", sort=False):
        figures.save(figures.rl(part.assign(reward=part["held_out_reward"])), out / f"p3o-{experiment}.png")
    print(cases.round(4).to_string(index=False))
    print(goes_with_reward(runs).round(3).to_string(index=False))
