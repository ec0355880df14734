"""P3O's experiments in miniature: ``python -m coupling.analyses.studies.p3o --out FOLDER``.

After Fakoor et al. 2026 (arXiv 2605.12380), on closing brackets with a small model, each seed from a supervised start
of its own: (1) GRPO at three clip ranges against P3O, which has none; (2) rollouts sampled at another temperature than
the one assumed, with log-probabilities at the true one and at the assumed one; (3) rollouts of a copy with weights
rounded to few bits; (4) rollouts 1, 4 and 16 updates old; and (5) learning rates up to one that ruins the policy, to
see whether coupling shows it. The rollouts of 2 to 4 bring their own log-probabilities, and both objectives take their
ratios to them. What is finished is not run again; ``--summarize`` only reads.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.rl.config import DataConfig, ProbeConfig, RunConfig
from coupling.analyses.rl.log import SUMMARY, TABLE
from coupling.analyses.rl.post_training import run
from coupling.analyses.rl.tasks import task
from coupling.analyses.studies.p3o.held_out import HeldOutReward
from coupling.analyses.studies.p3o.results import write_results
from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy
from coupling.errors import CouplingError
from coupling.files import load_json

TASK = "brackets"
SEEDS = (0, 1, 2)
STEPS = 60
RATES = (5e-4, 2e-3, 5e-3)
TRAINER: dict[str, Any] = {
    "per_device_train_batch_size": 128, "num_generations": 8, "max_completion_length": 6, "learning_rate": 5e-4,
    "lr_scheduler_type": "constant",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One line of an experiment."""

    experiment: str
    objective: str
    name: str
    trainer: dict[str, Any] = field(default_factory=dict)
    rollouts: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Where its runs go."""
        return f"{self.experiment}/{self.name}".replace(" ", "-")


def cases() -> list[Case]:
    """All cases, the objectives side by side in each condition."""
    found = [Case("clip", "p3o", "p3o")]
    found += [Case("clip", "grpo", f"grpo {epsilon}", {"epsilon": epsilon})
              for epsilon in (0.2, 0.4, 0.6)]  # fmt: skip
    conditions = [("temperature", f"T {value}", {"temperature": value}) for value in (0.6, 1.2)]
    conditions += [("temperature", f"T {value} as 1", {"temperature": value, "reported_temperature": 1.0})
                   for value in (0.6, 1.2)]  # fmt: skip
    conditions += [("precision", f"{bits} bits", {"bits": bits}) for bits in (8, 4)]
    conditions += [("stale", f"{age} old", {"age": age}) for age in (1, 4, 16)]
    for experiment, condition, rollouts in conditions:
        for objective in ("p3o", "grpo"):
            found.append(Case(experiment, objective, f"{objective}, {condition}", {}, rollouts))
    for rate in RATES:
        for objective in ("p3o", "grpo"):
            found.append(Case("rate", objective, f"{objective}, rate {rate:g}", {"learning_rate": rate}))
    return found


REUSED = {"clip": {"num_iterations": 4}}
"""With one update a generation every ratio is 1 and nothing is clipped: the clip experiment reuses its rollouts."""


def run_case(case: Case, seed: int, out: Path, steps: int = STEPS) -> Path:
    """Run one case with one seed, unless it is there; the folder that holds its table.

    Raises:
        CouplingError: see ``coupling.analyses.rl.post_training.run``; a model that diverges is a result, and its table is kept.
    """
    folder = out / case.folder / f"seed-{seed}"
    settings = TRAINER | {"max_steps": steps} | case.trainer | REUSED.get(case.experiment, {})
    config = RunConfig(
        data=DataConfig(task=TASK, limit=4096), objective=case.objective, name=case.name, seed=seed,
        trainer=settings, probe=ProbeConfig(every=max(1, steps // 10), k=(10,), count=4),
    )  # fmt: skip
    if (folder / SUMMARY).exists():
        known = load_json(folder / SUMMARY)
        if known.get("config") == json.loads(json.dumps(config.as_dict())) and _ended(known):
            return folder
    rollouts = None
    if case.rollouts is not None:
        rollouts = BehaviorPolicy(**case.rollouts, max_new_tokens=settings["max_completion_length"])
    try:
        run(config, folder, overwrite=True, rollout_func=rollouts,
            prepare=HeldOutReward(task(TASK), every=config.probe.every).attach)  # fmt: skip
    except CouplingError as error:
        if "diverged" not in str(error):
            raise
        print(f"{case.folder} seed {seed}: {error}", file=sys.stderr)
    return folder


def _ended(summary: dict[str, Any]) -> bool:
    """Whether a run is over: finished, or diverged, which is a result too."""
    return bool(summary.get("finished")) or "diverged" in str(summary.get("error", ""))


def collect(out: Path, seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    """Every row of every run that is over, with the columns experiment, objective and run."""
    tables = []
    for case in cases():
        for seed in seeds:
            folder = out / case.folder / f"seed-{seed}"
            if (folder / TABLE).exists() and _ended(load_json(folder / SUMMARY)):
                table = pd.read_csv(folder / TABLE)
                tables.append(
                    table.assign(experiment=case.experiment, objective=case.objective, run=case.name, seed=seed)
                )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def main() -> None:
    """Run what is missing, then write the tables and a picture an experiment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and results")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", help="one experiment: clip, temperature, precision, stale or rate")
    parser.add_argument("--summarize", action="store_true", help="run nothing, only write the results again")
    arguments = parser.parse_args()
    out, seeds = arguments.out, tuple(range(arguments.seeds))
    out.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in cases() if arguments.only in (None, case.experiment)]
    if not arguments.summarize:
        from coupling.cli.progress import quiet_libraries

        quiet_libraries()
        for index, (seed, case) in enumerate([(seed, case) for seed in seeds for case in chosen]):
            print(f"{index + 1}/{len(seeds) * len(chosen)} {case.folder} seed {seed}", file=sys.stderr, flush=True)
            run_case(case, seed, out, arguments.steps)
    write_results(collect(out, seeds), out)


if __name__ == "__main__":
    main()
