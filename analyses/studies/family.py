"""Does coupling correlate with quality in models of our own? Train a family, score it, measure it, correlate.

Run it as ``python -m coupling.analyses.studies.family --out FOLDER``. It trains 36 small Llamas on the Python standard
library's source: nine shapes, each trained in four ways, which differ in steps and in the share of the data (a full
factorial, so that depth, width, steps and data are uncorrelated). Every member is scored on modules that it
was not trained on and on the benchmark of ``code_benchmark``. Coupling is measured on the bundled prompts, and then
``correlate`` runs. If it is stopped, the same command continues it; finished members are kept. It is deterministic for
one version of Python, torch and the processor's instruction set.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from coupling.analyses.correlation.small_models import TABLE
from coupling.analyses.studies.family_members import MEMBER, Member, members
from coupling.analyses.studies.family_results import RESULT, collect
from coupling.analyses.studies.family_training import make_member
from coupling.programs import errors_in_one_line

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""One thread per process: the same bits on any number of cores, and two models at once use two cores better than one.
The last setting makes cuBLAS deterministic."""


class FamilyProgress:
    """Progress messages on stderr: one line per finished member, with the time left."""

    def __init__(self, family: list[Member], out: Path) -> None:
        self._n_members, self._n_finished = len(family), 0
        self._new = [member for member in family if not (out / member.name / MEMBER).exists()]
        self._started, self._cost = time.perf_counter(), 0.0

    def report(self, member: Member, record: dict[str, Any]) -> None:
        """Print the line of a member that is finished."""
        self._n_finished += 1
        if member in self._new:
            self._cost += member.cost
        scores = record["scores"]
        print(
            f"[{self._n_finished:2d}/{self._n_members}] {member.name:<13} {scores['bits per byte']:.3f} bits per byte, "
            f"exact match {scores['exact match']:.1%}, {sum(record['seconds'].values()):.0f} s{self._time_left()}",
            file=sys.stderr,
            flush=True,
        )

    def _time_left(self) -> str:
        """The time left, by the cost of what is done and what is not; empty before anything new is done."""
        if not self._cost:
            return ""
        seconds_per_cost = (time.perf_counter() - self._started) / self._cost
        seconds = seconds_per_cost * (sum(member.cost for member in self._new) - self._cost)
        return f"; about {seconds / 60:.0f} min left"


def make_family(family: list[Member], out: Path, workers: int = 2, device: str = "cpu") -> None:
    """Make every member that is not finished yet, in several processes with one thread each.

    Args:
        family: what ``members`` returned.
        out: the family's folder.
        workers: number of processes.
        device: see ``make_member``.

    Raises:
        CouplingError: see ``make_member``.
    """
    out.mkdir(parents=True, exist_ok=True)
    os.environ |= ENVIRONMENT
    progress = FamilyProgress(family, out)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_exit_silently_on_interrupt) as pool:
        futures = {pool.submit(make_member, member, out, device): member for member in family}
        try:
            for future in as_completed(futures):
                progress.report(futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _exit_silently_on_interrupt() -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def main() -> None:
    """Make the members that are not finished yet; then write the table, and what correlates in it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for models, runs and the table")
    parser.add_argument("--workers", type=int, default=2, help="number of models that are trained at the same time")
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu")
    parser.add_argument("--step-share", type=float, default=1.0, help="shorten every training, for a quick look")
    arguments = parser.parse_args()
    family = members(arguments.step_share)
    with errors_in_one_line("interrupted; finished members are kept, continue with the same command"):
        arguments.out.mkdir(parents=True, exist_ok=True)
        try:
            make_family(family, arguments.out, arguments.workers, arguments.device)
        except BrokenProcessPool:  # its processes end at once on Ctrl-C
            raise KeyboardInterrupt from None
        collect([member.name for member in family], arguments.out)
    print(f"{arguments.out / TABLE} contains the table, {arguments.out / RESULT} what correlates in it")


if __name__ == "__main__":
    main()
