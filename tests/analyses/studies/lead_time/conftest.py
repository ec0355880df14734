"""Results of the study without training: curves that are made up, as files."""

import numpy as np
import pytest

from coupling.analyses.studies.lead_time.design import COUPLING, EVERY, HELD_OUT, RIVALS, STEPS, planned
from coupling.analyses.studies.resumable import write_result


def made_up(fault: str, seed: int) -> dict[str, list[float]]:
    """Signals that are noise; in runs with a fault the reward falls from update 100 on, and the excess from 80 on.

    The excess is on another side of its mean at each measurement until then, but for a small rise in healthy runs.
    """
    random = np.random.default_rng([seed, len(fault)])
    steps = np.arange(0, STEPS + 1, EVERY, dtype=float)
    columns = {name: np.exp(random.normal(0, 0.1, len(steps))) for name in (*RIVALS, *COUPLING)}
    columns[HELD_OUT] = 0.5 + random.normal(0, 0.001, len(steps))
    columns["excess"] = 1 + 0.1 * (-1.0) ** np.arange(len(steps))
    if fault == "healthy":
        columns["excess"] += (0.3 + 0.01 * (seed - 199)) * ((steps == 120) | (steps == 124))
    if fault not in ("healthy", "stale"):
        columns[HELD_OUT] -= 0.4 * (steps >= 100)
        columns["excess"] -= 3.0 * (steps >= 80)
    return {"step": steps.tolist()} | {name: values.round(5).tolist() for name, values in columns.items()}


@pytest.fixture
def results(tmp_path):
    """A folder with a result of every planned run."""
    out = tmp_path / "rows"
    out.mkdir()
    for plan in planned():
        content = {"fault": plan.fault, "seed": plan.seed, "ended": "finished", "seconds": 1.0}
        write_result(plan, out, content | {"columns": made_up(plan.fault, plan.seed)})
    return out
