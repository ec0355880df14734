"""One run of the study: its result is a small JSON file, which is written again every few updates."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from coupling.analyses.rl.config import DataConfig, ProbeConfig, RunConfig
from coupling.analyses.rl.data import TASK_ROWS
from coupling.analyses.rl.evaluation import HELD_OUT_SEED
from coupling.analyses.rl.folder import TABLE
from coupling.analyses.rl.post_training import post_train
from coupling.analyses.rl.tasks import task
from coupling.analyses.rl.warm_start import cache_folder
from coupling.analyses.studies.off_policy.runs import condense
from coupling.analyses.studies.resumable import read_result, write_result
from coupling.analyses.studies.smollm2_rl.design import (
    EVERY,
    EXAMPLES,
    HELD_OUT,
    LORA,
    PROBES,
    SAMPLED_AT,
    TRAINER,
    Planned,
)
from coupling.analyses.studies.smollm2_rl.model import HeldOutAnswers, OwnSampler, converted, question
from coupling.errors import DivergedError
from coupling.files import write_atomically

FINISHED = "finished"


def is_finished(result: dict[str, Any]) -> bool:
    """Whether a result is that of a run that came to its end, also by diverging."""
    return not str(result["ended"]).startswith("at update")


def run(plan: Planned, out: Path, work: Path | None = None) -> dict[str, Any]:
    """Make one run, or continue it from its last checkpoint, unless it is finished.

    The result is written every ``EVERY`` updates.

    Args:
        plan: the run.
        out: the folder of the results.
        work: the folder of checkpoints and of the model; default: ``block-coupling`` in the user's cache folder.

    Returns:
        The result.

    Raises:
        CouplingError: see ``converted`` and ``coupling.analyses.rl.post_training.post_train``.
    """
    found = read_result(plan, out)
    if found is not None and is_finished(found):
        return found
    work = cache_folder() if work is None else work
    folder, model = work / "smollm2-rl" / plan.design, converted(work)
    folder.parent.mkdir(parents=True, exist_ok=True)
    before, started = 0.0 if found is None else float(found["seconds"]), time.process_time()

    def write(ended: str) -> dict[str, Any]:
        content = {
            "objective": plan.objective.name,
            "seed": plan.seed,
            "steps": plan.steps,
            "ended": ended,
            "seconds": round(before + time.process_time() - started, 1),
            "device": device(),
            "columns": condense(pd.read_csv(folder / TABLE)),
        }
        return write_result(plan, out, content)

    def progress(seed: int, done: int, total: int, row: Mapping[str, Any]) -> None:
        # The row of the last update before a measurement is complete when the next one begins.
        if done % EVERY == 1 and done > EVERY:
            write(f"at update {done - 1}")

    ended = FINISHED
    try:
        post_train(
            run_config(plan, model, prompts_file(plan, folder.parent)),
            folder,
            resume=(folder / TABLE).exists(),
            overwrite=not (folder / TABLE).exists(),
            rollout_func=OwnSampler(
                temperature=SAMPLED_AT, reported_temperature=1.0, max_new_tokens=TRAINER["max_completion_length"]
            ),
            prepare=held_out().attach,
            progress=progress,
        )
    except DivergedError as error:
        ended = f"diverged: {error}".replace(str(folder), "the run's folder")
        print(f"{plan.file}: {error}", file=sys.stderr)
    return write(ended)


def device() -> str:
    """What the run is trained on, in words."""
    if not torch.accelerator.is_available():
        return f"CPU, {torch.get_num_threads()} thread"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else str(torch.accelerator.current_accelerator())


def run_config(plan: Planned, model: Path, prompts: Path) -> RunConfig:
    """The configuration of a run for ``post_train``."""
    return RunConfig(
        model=str(model),
        data=DataConfig(file=str(prompts)),
        objective=plan.objective.objective,
        name=plan.objective.name,
        reward=("number",),
        seed=plan.seed,
        trainer=TRAINER | {"max_steps": plan.steps} | plan.objective.trainer,
        lora=LORA,
        probe=ProbeConfig(every=plan.steps, k=(10,), count=PROBES),
    )


def prompts_file(plan: Planned, folder: Path) -> Path:
    """A file of the prompts and answers that a run with this seed is trained on."""
    file = folder / f"addition-seed-{plan.seed}.jsonl"
    examples = task("addition").examples(TASK_ROWS, plan.seed)
    rows = [{"prompt": question(example, EXAMPLES), "answer": example.answer} for example in examples]
    write_atomically(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return file


def held_out() -> HeldOutAnswers:
    """The measurement of the held-out prompts, which are the same in all runs."""
    examples = task("addition").examples(HELD_OUT, HELD_OUT_SEED)
    prompts = [question(example, EXAMPLES) for example in examples]
    return HeldOutAnswers(prompts, [example.answer for example in examples], every=EVERY)
