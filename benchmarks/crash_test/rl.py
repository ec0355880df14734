"""``coupling rl``, killed at random moments until it is complete."""

import random
import shutil
from pathlib import Path

from benchmarks.crash_test.commands import Figures, kill_after, start, timed, wait
from coupling.analyses.rl.warm_start import warm_start

SEEDS = 2
CONFIG = """
model: {model}
data: {{task: brackets}}
reward: exact
probe: {{every: 2, k: [4], count: 2}}
trainer: {{max_steps: 4, per_device_train_batch_size: 8, num_generations: 4, max_completion_length: 4,
  learning_rate: 1.0e-3, save_strategy: steps, save_steps: 1}}
"""
COMMAND = ("rl", "run.yaml", "--seeds", SEEDS, "--quiet", "--out")


def prepare(place: Path) -> None:
    """Write the configuration of a short run, and train the small model that it begins with."""
    model = warm_start("brackets", steps=3, cache=place / "cache")
    (place / "run.yaml").write_text(CONFIG.format(model=model))


def kill_and_resume(place: Path, count: int, seed: int = 0) -> Figures:
    """Kill ``rl`` at ``count`` random moments, resume each run until it is complete, and compare its table.

    Raises:
        RuntimeError: if a promise is broken.
    """
    draws, figures, log = random.Random(seed), Figures(), place / "log"
    seconds = timed([*COMMAND, "whole"], place, log)
    expected = (place / "whole" / "table.csv").read_bytes()
    folder = place / "run"
    while figures.kills < count or folder.exists():
        command = [*COMMAND, "run"]
        if folder.exists() and _can_be_resumed(folder):
            command.append("--resume")
            figures.resumes += 1
        if figures.kills < count:
            was_killed, _ = kill_after(draws.uniform(0.1, 0.7) * seconds, command, place, log, draws)
        else:
            was_killed = wait(start(command, place, log)) != 0
            if was_killed:
                raise RuntimeError(f"a run could not be continued: {log.read_text()[-500:]}")
        if was_killed:
            figures.kills += 1
            continue
        if (folder / "table.csv").read_bytes() != expected:
            raise RuntimeError(f"a resumed run has another table than an uninterrupted one, after kill {figures.kills}")
        shutil.rmtree(folder)
    return figures


def _can_be_resumed(folder: Path) -> bool:
    """Whether a run has begun: before its record is written there is nothing to continue."""
    return (folder / "run.json").exists()
