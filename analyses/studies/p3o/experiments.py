"""P3O's experiments in miniature: ``python -m coupling.analyses.studies.p3o --out FOLDER``.

They follow Fakoor et al. 2026 (arXiv 2605.12380). A small model closes brackets; each seed has its own supervised
start. The experiments are:

1. ``clip``: GRPO at three clip ranges against P3O, which has none.
2. ``temperature``: rollouts sampled at another temperature than the one assumed, with log-probabilities at the true
   temperature and at the assumed one.
3. ``precision``: rollouts of a copy whose weights are rounded to few bits.
4. ``stale``: rollouts of a copy that is 1, 4 or 16 updates old.
5. ``rate``: learning rates up to one that ruins the policy, to find out whether coupling shows it.

The rollouts of experiments 2 to 4 bring their own log-probabilities, and both objectives take their ratios to them. A
run that is complete is not repeated; ``--summarize`` only reads.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.rl.config import DataConfig, ProbeConfig, RunConfig
from coupling.analyses.rl.folder import SUMMARY, TABLE
from coupling.analyses.rl.post_training import post_train
from coupling.analyses.rl.tasks import task
from coupling.analyses.studies.p3o.held_out import HeldOutReward
from coupling.analyses.studies.p3o.results import write_results
from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy
from coupling.errors import DivergedError
from coupling.files import load_json
from coupling.programs import errors_in_one_line, quiet_libraries

TASK = "brackets"
SEEDS = (0, 1, 2)
STEPS = 60
EXPERIMENTS = ("clip", "temperature", "precision", "stale", "rate")
CLIP_RANGES = (0.2, 0.4, 0.6)
TEMPERATURES = (0.6, 1.2)
BITS = (8, 4)
AGES = (1, 4, 16)
RATES = (5e-4, 2e-3, 5e-3)
TRAINER: dict[str, Any] = {
    "per_device_train_batch_size": 128,
    "num_generations": 8,
    "max_completion_length": 6,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "constant",
}
"""TRL's settings of every run; a case may change some."""
REUSED = {"clip": {"num_iterations": 4}}
"""With one update per generation every ratio is 1 and nothing is clipped, so the clip experiment reuses rollouts."""


@dataclass(frozen=True)
class Case:
    """One objective in one condition of an experiment.

    Attributes:
        experiment: one of ``EXPERIMENTS``.
        objective: "p3o" or "grpo".
        name: the name in tables and pictures.
        trainer: changes to ``TRAINER``.
        rollouts: arguments of ``BehaviorPolicy``; None if the trained policy samples itself.
    """

    experiment: str
    objective: str
    name: str
    trainer: dict[str, Any] = field(default_factory=dict)
    rollouts: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """The folder of its runs, relative to that of all experiments."""
        return f"{self.experiment}/{self.name}".replace(" ", "-")


def cases() -> list[Case]:
    """All cases; the objectives follow one another in each condition."""
    clip = [Case("clip", "p3o", "p3o")]
    clip += [Case("clip", "grpo", f"grpo {epsilon}", {"epsilon": epsilon}) for epsilon in CLIP_RANGES]
    sampled_by_another = [
        Case(experiment, objective, f"{objective}, {condition}", {}, rollouts)
        for experiment, condition, rollouts in _rollout_conditions()
        for objective in ("p3o", "grpo")
    ]
    rate = [
        Case("rate", objective, f"{objective}, rate {rate:g}", {"learning_rate": rate})
        for rate in RATES
        for objective in ("p3o", "grpo")
    ]
    return clip + sampled_by_another + rate


def _rollout_conditions() -> list[tuple[str, str, dict[str, Any]]]:
    """(experiment, condition, arguments of ``BehaviorPolicy``) of the experiments in which another policy samples."""
    told = [("temperature", f"T {value}", {"temperature": value}) for value in TEMPERATURES]
    untold = [
        ("temperature", f"T {value} as 1", {"temperature": value, "reported_temperature": 1.0})
        for value in TEMPERATURES
    ]
    precision = [("precision", f"{bits} bits", {"bits": bits}) for bits in BITS]
    stale = [("stale", f"{age} old", {"age": age}) for age in AGES]
    return told + untold + precision + stale


def run_case(case: Case, seed: int, out: Path, steps: int = STEPS) -> Path:
    """Run one case with one seed, unless the same run is complete already.

    A model that diverges is a result: its table is kept, and the run is complete.

    Args:
        case: the case.
        seed: the seed of the supervised start, the data and the training.
        out: the folder of all experiments.
        steps: number of updates.

    Returns:
        The folder that contains the run's table.

    Raises:
        CouplingError: see ``coupling.analyses.rl.post_training.post_train``.
    """
    folder = out / case.folder / f"seed-{seed}"
    config = _run_config(case, seed, steps)
    if _is_complete(folder, config):
        return folder
    rollouts = None
    if case.rollouts is not None:
        rollouts = BehaviorPolicy(**case.rollouts, max_new_tokens=config.trainer["max_completion_length"])
    held_out = HeldOutReward(task(TASK), every=config.probe.every)
    try:
        post_train(config, folder, overwrite=True, rollout_func=rollouts, prepare=held_out.attach)
    except DivergedError as error:
        print(f"{case.folder} seed {seed}: {error}", file=sys.stderr)
    return folder


def _run_config(case: Case, seed: int, steps: int) -> RunConfig:
    """The configuration of a case's run; coupling is measured ten times through it."""
    return RunConfig(
        data=DataConfig(task=TASK, limit=4096),
        objective=case.objective,
        name=case.name,
        seed=seed,
        trainer=TRAINER | {"max_steps": steps} | case.trainer | REUSED.get(case.experiment, {}),
        probe=ProbeConfig(every=max(1, steps // 10), k=(10,), count=4),
    )


def _is_complete(folder: Path, config: RunConfig) -> bool:
    """Whether the folder contains a run of exactly this configuration that has ended."""
    if not (folder / SUMMARY).exists():
        return False
    summary = load_json(folder / SUMMARY)
    return summary.get("config") == json.loads(json.dumps(config.as_dict())) and _ended(summary)


def _ended(summary: dict[str, Any]) -> bool:
    """Whether a run has finished or diverged, which is a result too."""
    return bool(summary.get("finished")) or bool(summary.get("diverged"))


def collect(out: Path, seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    """The tables of all complete runs in one.

    Args:
        out: the folder of all experiments.
        seeds: whose runs are read.

    Returns:
        One row per run and step: the columns of the runs' tables, with ``experiment``, ``objective``, ``run`` (the
        case's name) and ``seed``.
    """
    tables = []
    for case in cases():
        for seed in seeds:
            folder = out / case.folder / f"seed-{seed}"
            if (folder / TABLE).exists() and _ended(load_json(folder / SUMMARY)):
                labels = {"experiment": case.experiment, "objective": case.objective, "run": case.name, "seed": seed}
                tables.append(pd.read_csv(folder / TABLE).assign(**labels))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def main() -> None:
    """Run what is missing, then write the tables and one picture per experiment."""
    arguments = _parser().parse_args()
    with errors_in_one_line():
        run_all(arguments.out, arguments)


def run_all(out: Path, arguments: argparse.Namespace) -> None:
    """Run what is missing of what the arguments name, and write the results.

    Args:
        out: the folder of the runs and results.
        arguments: those of the command.

    Raises:
        CouplingError: if a run fails for another reason than a model that diverges.
    """
    seeds = tuple(range(arguments.seeds))
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.summarize:
        quiet_libraries()
        runs = [(case, seed) for seed in seeds for case in cases() if arguments.only in (None, case.experiment)]
        for index, (case, seed) in enumerate(runs):
            print(f"{index + 1}/{len(runs)} {case.folder} seed {seed}", file=sys.stderr, flush=True)
            run_case(case, seed, out, arguments.steps)
    write_results(collect(out, seeds), out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coupling.analyses.studies.p3o", description="Run P3O's experiments in miniature."
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs and results")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="number of seeds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="updates per run (default: %(default)s)")
    parser.add_argument("--only", choices=EXPERIMENTS, help="run one experiment only")
    parser.add_argument("--summarize", action="store_true", help="run nothing; write the results of complete runs")
    return parser
