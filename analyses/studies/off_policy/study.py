"""Does P3O help where rollouts are off-policy for 300 updates? 100 runs against DAPO, and what their rewards say.

``python -m coupling.analyses.studies.off_policy`` makes the runs that have no result yet, two at a time, and then
writes the tables and the picture. Results are kept with the code, one file per run, and are written when a run ends; so
the command can be stopped at any time, on any machine, and continues with the runs that are missing.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: one thread per run

from coupling.analyses.studies.off_policy.design import STEPS, planned
from coupling.analyses.studies.off_policy.results import write_results
from coupling.analyses.studies.off_policy.runs import run
from coupling.analyses.studies.resumable import missing, run_all
from coupling.locking import locked
from coupling.programs import errors_in_one_line, quiet_libraries

RESULTS = Path(__file__).parents[1] / "results" / "off-policy"
"""The folder of the results, one file per run."""


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
                run_all(run, chosen, out, arguments.workers)
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
