"""Does any coupling measure see a run go bad before its reward does? Runs with four faults, and healthy ones.

``python -m coupling.analyses.studies.lead_time`` makes the runs that have no result yet, and then writes the tables and
the picture. Results are kept with the code, one file per run.
"""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: one thread per run

from coupling.analyses.studies.lead_time.design import planned
from coupling.analyses.studies.lead_time.results import write_results
from coupling.analyses.studies.lead_time.runs import run
from coupling.analyses.studies.resumable import command

RESULTS = Path(__file__).parents[1] / "results" / "lead-time"
"""The folder of the results, one file per run."""


def main() -> None:
    """Make what is missing, then write the tables and the picture."""
    command(
        "coupling.analyses.studies.lead_time",
        str(__doc__).splitlines()[0],
        planned(),
        run,
        lambda out: write_results(planned(), out),
        RESULTS,
    )
