"""``coupling sweep``, its driver and its workers killed at random moments until the study is complete."""

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import psutil
import transformers

from benchmarks.crash_test.commands import Figures, has_one_line, start, timed, wait
from coupling.models.loading import load

STEPS = (0, 1, 10)
COMMAND = ("sweep", "trained/checkpoint-*", "--prompts", "prompts.txt", "--k", 3, "--workers", 2, "--quiet", "--out")
VARYING = ("seconds", "attempts")
"""Columns of a study's table that may differ between two runs of it."""
WORKER_KILLS = 2
"""Kills of a worker per study: a task that has ended three is set aside, as promised, and never measured."""


def prepare(place: Path) -> None:
    """Write a few small checkpoints and their prompts."""
    tokenizer = load().tokenizer
    for step in STEPS:
        transformers.set_seed(step)
        config = transformers.LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2
        )
        folder = place / "trained" / f"checkpoint-{step}"
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (place / "prompts.txt").write_text("".join(f"import module_{number}\n" for number in range(6)))


def results(study: Path) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """The table of a study without what may vary, and the bytes of its runs."""
    table = pd.read_csv(study / "index.csv")
    runs = {path.parent.name: path.read_bytes() for path in study.glob("runs/*/run.nc")}
    return table.drop(columns=[name for name in VARYING if name in table]), runs


def kill_and_resume(place: Path, count: int, seed: int = 0) -> Figures:
    """Kill drivers and workers of ``sweep``, give the command again until the study is complete, and compare it.

    Args:
        place: an empty folder.
        count: the number of kills.
        seed: of the random moments.

    Raises:
        RuntimeError: if anything was lost, measured twice or left running.
    """
    prepare(place)
    draws, figures, log = random.Random(seed), Figures(), place / "log"
    seconds = timed([*COMMAND, "whole"], place, log)
    table, runs = results(place / "whole")
    study, worker_kills = place / "study", 0
    while figures.kills < count or study.exists():
        finished = _finished(study)
        figures.resumes += study.exists()
        child = start([*COMMAND, "study"], place, log)
        if figures.kills < count:
            time.sleep(draws.uniform(0, 0.9 * seconds))
            workers = _below(child)
            if worker_kills < WORKER_KILLS and workers and draws.random() < 1 / 3:
                worker_kills += 1
                figures.kills += 1
                draws.choice(workers).kill()
            else:
                os.kill(child, signal.SIGKILL)
        code = wait(child)
        for path, content in finished.items():
            if path.read_bytes() != content:
                raise RuntimeError(f"{path.parent.name}, which was finished, was measured again")
        if code == -signal.SIGKILL:
            figures.kills += 1
            _, alive = psutil.wait_procs(workers, timeout=60)
            if alive:
                raise RuntimeError(f"{len(alive)} workers of a killed driver are still there after 60 seconds")
            continue
        if code != 0:
            said = log.read_text(errors="replace")
            raise RuntimeError(f"a sweep ended with {code}, in one line: {has_one_line(log)}: {said[-500:]}")
        now, again = results(study)
        if again != runs or not now.equals(table):
            raise RuntimeError(f"a sweep that was killed has other results, after kill {figures.kills}")
        shutil.rmtree(study)
        worker_kills = 0
    return figures


def _below(process: int) -> list[psutil.Process]:
    """The workers of a driver that is at work."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process).children(recursive=True)
    return []


def _finished(study: Path) -> dict[Path, bytes]:
    """The runs of a study that are complete."""
    return {path: path.read_bytes() for path in study.glob("runs/*/run.nc")}
