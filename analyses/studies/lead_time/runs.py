"""One run of the study, and its result: a small JSON file with every signal at every measurement."""

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
from coupling.analyses.studies.lead_time.design import (
    COUPLING,
    EVERY,
    FAULTS,
    HELD_OUT,
    PROBES,
    RIVALS,
    STEPS,
    TASK,
    TRAINER,
    K,
    Planned,
)
from coupling.analyses.studies.lead_time.faults import FaultySampler, GrowingRate
from coupling.analyses.studies.p3o.held_out import HeldOutReward
from coupling.analyses.studies.resumable import read_result, rounded, write_result
from coupling.errors import DivergedError


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
    fault = FAULTS[plan.fault]

    def prepare(trainer: Any) -> None:
        HeldOutReward(task(TASK), every=EVERY).attach(trainer)
        if fault.doubling is not None:
            trainer.add_callback(GrowingRate(fault.doubling))

    started, ended = time.process_time(), "finished"
    with tempfile.TemporaryDirectory() as folder:
        try:
            post_train(
                run_config(plan),
                folder,
                overwrite=True,
                rollout_func=FaultySampler(fault),
                prepare=prepare,
                trust_rewards=True,  # the reward with a loophole is a function of this package
            )
        except DivergedError as error:
            ended = f"diverged: {error}".replace(folder, "the run's folder")
            print(f"{plan.file}: {error}", file=sys.stderr)
        table = pd.read_csv(Path(folder) / TABLE)
    content = {
        "fault": plan.fault,
        "seed": plan.seed,
        "steps": STEPS,
        "ended": ended,
        "seconds": round(time.process_time() - started, 1),
        "columns": condense(table),
    }
    return write_result(plan, out, content)


def run_config(plan: Planned) -> RunConfig:
    """The configuration of a run for ``post_train``."""
    return RunConfig(
        data=DataConfig(task=TASK, limit=4096),
        objective="p3o",
        name=plan.fault,
        seed=plan.seed,
        reward=(FAULTS[plan.fault].reward,),
        trainer=TRAINER,
        probe=ProbeConfig(every=EVERY, k=(K,), count=PROBES),
    )


def condense(table: pd.DataFrame) -> dict[str, list[float | None]]:
    """What is kept of a run's table: one value of each signal per measurement.

    Args:
        table: one row per update.

    Returns:
        ``step``, the held-out reward and the measures of the model, and for each of ``RIVALS`` the mean over the
        updates since the measurement before, which are those on one batch of rollouts; None where there is no value.
    """
    measured = table.dropna(subset=[HELD_OUT])
    steps = [int(step) for step in measured["step"]]
    columns: dict[str, list[float | None]] = {"step": list(map(float, steps))}
    for name, column in {HELD_OUT: HELD_OUT, **COUPLING}.items():
        columns[name] = [rounded(value) for value in measured[column]]
    for name in RIVALS:
        parts = [
            table[(table["step"] > before) & (table["step"] <= step)][name]
            for before, step in zip([-1, *steps], steps, strict=False)
        ]
        columns[name] = [rounded(part.mean()) for part in parts]
    return columns
