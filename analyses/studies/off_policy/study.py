"""Does P3O help where rollouts are off-policy for long? 100 runs against DAPO, and what their rewards say.

``python -m coupling.analyses.studies.off_policy`` makes the runs that have no result yet, two at a time, and then
writes the tables and the picture. Results are kept with the code, one file per run, and are written when a run ends; so
the command can be stopped at any time, on any machine, and continues with the runs that are missing.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: one thread per run

from coupling.analyses.studies.off_policy.design import STEPS, Planned, planned
from coupling.analyses.studies.off_policy.results import write_results
from coupling.analyses.studies.off_policy.runs import read_result, run
from coupling.locking import locked
from coupling.programs import errors_in_one_line, quiet_libraries

RESULTS = Path(__file__).parents[1] / "results" / "off-policy"
"""The folder of the results, one file per run."""


def missing(plans: Sequence[Planned], out: Path) -> list[Planned]:
    """The runs without a result."""
    return [plan for plan in plans if read_result(plan, out) is None]


def run_all(plans: Sequence[Planned], out: Path, workers: int) -> None:
    """Make runs, several at a time, with one line per run on stderr.

    Args:
        plans: the runs.
        out: the folder of the results.
        workers: processes at a time; 1 makes the runs in this process.

    Raises:
        CouplingError: if a run fails for another reason than a model that diverges.
    """
    if workers == 1:
        for index, plan in enumerate(plans):
            _report(index + 1, len(plans), plan, run(plan, out))
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=quiet_libraries) as pool:
        futures = {pool.submit(run, plan, out): plan for plan in plans}
        try:
            for index, future in enumerate(as_completed(futures)):
                _report(index + 1, len(plans), futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _report(index: int, count: int, plan: Planned, result: dict[str, Any]) -> None:
    last = result["columns"]["held_out_reward"][-1]
    print(
        f"[{index}/{count}] {plan.file.removesuffix('.json')}: {result['ended']}, reward {last}, "
        f"{result['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Make what is missing, then write the tables and the pictures."""
    arguments = _parser().parse_args()
    out: Path = arguments.out.resolve()
    plans = planned(arguments.steps)
    quiet_libraries()
    with errors_in_one_line():
        with locked(out):
            chosen = missing(plans, out)[: arguments.limit]
            if chosen and not arguments.summarize:
                run_all(chosen, out, arguments.workers)
        print(write_results(plans, out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coupling.analyses.studies.off_policy", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: with the code)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="updates per run (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="make at most this many runs")
    parser.add_argument("--summarize", action="store_true", help="run nothing; write the tables of what is there")
    return parser
