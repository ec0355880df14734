"""One run of the study, and its result: a small JSON file with what was measured every ten updates."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.rl.config import DataConfig, ProbeConfig, RunConfig
from coupling.analyses.rl.folder import TABLE
from coupling.analyses.rl.post_training import post_train
from coupling.analyses.rl.tasks import task
from coupling.analyses.studies.off_policy.design import CONDITIONS, EVERY, PROBE_EVERY, TASK, TRAINER, Planned
from coupling.analyses.studies.p3o.held_out import HeldOutReward
from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy
from coupling.analyses.studies.resumable import read_result, rounded, write_result
from coupling.errors import DivergedError

AVERAGED = ("reward", "ess", "ess_micro", "kl", "p3o/kl_from_behavior", "entropy", "grad_norm", "completion_length")
"""Columns of a run's table whose means over the updates since the measurement before are kept."""
MEASURED = ("held_out_reward", "score", "excess", "mismatch_to_initial")
"""Columns of which the measured values are kept."""


def run(plan: Planned, out: Path) -> dict[str, Any]:
    """Make one run, unless its result is there already, and write its result.

    A model that diverges is a result.

    Args:
        plan: the run.
        out: the folder of the results.

    Returns:
        The result.

    Raises:
        CouplingError: see ``coupling.analyses.rl.post_training.post_train``.
    """
    found = read_result(plan, out)
    if found is not None:
        return found
    config = run_config(plan)
    condition, longest = CONDITIONS[plan.condition], TRAINER["max_completion_length"]
    rollouts = BehaviorPolicy(**condition.rollouts, max_new_tokens=longest, seed=plan.seed)
    held_out = HeldOutReward(task(TASK), every=EVERY)
    started, ended = time.perf_counter(), "finished"
    with tempfile.TemporaryDirectory() as folder:
        try:
            post_train(config, folder, overwrite=True, rollout_func=rollouts, prepare=held_out.attach)
        except DivergedError as error:
            ended = f"diverged: {error}"
            print(f"{plan.file}: {error}", file=sys.stderr)
        table = pd.read_csv(Path(folder) / TABLE)
    return write_result(
        plan,
        out,
        {
            "condition": plan.condition,
            "objective": plan.objective.name,
            "seed": plan.seed,
            "steps": plan.steps,
            "ended": ended.replace(folder, "the run's folder"),
            "seconds": round(time.perf_counter() - started, 1),
            "columns": condense(table),
        },
    )


def run_config(plan: Planned) -> RunConfig:
    """The configuration of a run for ``post_train``."""
    return RunConfig(
        data=DataConfig(task=TASK, limit=4096),
        objective=plan.objective.objective,
        name=plan.objective.name,
        seed=plan.seed,
        trainer=TRAINER | {"max_steps": plan.steps} | CONDITIONS[plan.condition].trainer | plan.objective.trainer,
        probe=ProbeConfig(every=PROBE_EVERY, k=(10,), count=4),
    )


def condense(table: pd.DataFrame) -> dict[str, list[float | None]]:
    """What is kept of a run's table: one value per measurement of the held-out reward.

    Args:
        table: one row per update.

    Returns:
        ``step``, the columns of ``MEASURED``, and the means of those of ``AVERAGED`` over the updates since the
        measurement before; None where there is no value.
    """
    measured = table.dropna(subset=["held_out_reward"])
    steps = [int(step) for step in measured["step"]]
    columns: dict[str, list[float | None]] = {"step": list(map(float, steps))}
    for name in MEASURED:
        if name in table:
            columns[name] = [rounded(value) for value in measured[name]]
    for name in AVERAGED:
        if name in table:
            parts = [
                table[(table["step"] > before) & (table["step"] <= step)][name]
                for before, step in zip([-1, *steps], steps, strict=False)
            ]
            columns[name] = [rounded(part.mean()) for part in parts]
    return columns
