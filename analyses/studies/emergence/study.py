"""How does coupling develop while a small language model learns? Train, sweep over the checkpoints, and draw.

Run it as ``python -m coupling.analyses.studies.emergence --out FOLDER``. It trains six small Llamas on the Python
standard library's source (three seeds, with weight decay 0 and 0.1), keeps 20 checkpoints of each at steps on a
logarithmic scale, and measures each on eight of the bundled prompts by a sweep. If it is stopped, the same command
continues it: in a training from the last checkpoint, in the sweep with the first checkpoint that is not measured. It
takes one core, and is deterministic for one version of Python, torch and the processor's instruction set.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from coupling.analyses.studies.emergence.results import write_results
from coupling.analyses.studies.emergence.training import STEPS, Member, members, train_member
from coupling.analyses.sweep import sweep
from coupling.errors import CouplingError
from coupling.programs import errors_in_one_line, quiet_libraries

K = (5, 10)
PROMPTS = 8
"""Prompts that every checkpoint is measured on: two of each kind of the bundled ones."""


def sweep_members(finished: Sequence[Member], out: Path) -> None:
    """Measure the checkpoints that have not been measured.

    Args:
        finished: the trainings whose checkpoints are measured.
        out: the study's folder.

    Raises:
        CouplingError: if a checkpoint cannot be measured.
    """
    study = {
        "models": [str(out / "models" / member.name / "checkpoint-*") for member in finished],
        "limit": PROMPTS,
        "k": list(K),
        "device": "cpu",
        "detail": "none",
    }
    table = sweep(study, out=out / "sweep", workers=1, threads=1)
    failed = table[table["state"] != "done"]
    if len(failed):
        raise CouplingError(f"{failed['task'].iloc[0]} was not measured: {failed['error'].iloc[0]}")


def run_study(out: Path, everything: Sequence[Member], steps: tuple[int, ...] = STEPS) -> None:
    """Train and measure what is missing, with one line per member on stderr.

    Args:
        out: the study's folder.
        everything: the trainings.
        steps: the steps whose checkpoints are kept.

    Raises:
        CouplingError: if a training diverged, or a checkpoint cannot be measured.
    """
    for index, member in enumerate(everything):
        started = time.perf_counter()
        losses = train_member(member, out / "models" / member.name, steps)
        trained = time.perf_counter()
        sweep_members(everything[: index + 1], out)
        print(
            f"[{index + 1}/{len(everything)}] {member.name}: held-out loss {losses[max(losses)]:.3f}, trained in "
            f"{trained - started:.0f} s, measured in {time.perf_counter() - trained:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    """Run what is missing; then write the table and the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m coupling.analyses.studies.emergence", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for models, runs, the table and the pictures")
    out: Path = parser.parse_args().out.resolve()
    quiet_libraries()
    with errors_in_one_line():
        out.mkdir(parents=True, exist_ok=True)
        run_study(out, members())
        write_results(out)
    print(f"the table and the pictures are in {out}")
