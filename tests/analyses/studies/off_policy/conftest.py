"""Results of the study without training: ``post_train`` writes a table whose reward depends on the objective."""

import pandas as pd
import pytest

from coupling.analyses.studies.off_policy import runs
from coupling.errors import DivergedError


@pytest.fixture
def made(monkeypatch):
    """The configurations of the runs that were made; the one named in ``diverging`` diverges after 100 updates."""

    class Made(list):
        diverging = None

    calls = Made()

    def post_train(config, out, **options):
        calls.append((config, options["rollout_func"]))
        diverges = calls.diverging == config.name
        steps = range(101 if diverges else config.trainer["max_steps"] + 1)
        table = pd.DataFrame({"step": steps})
        table["held_out_reward"] = [0.1 * len(config.name) / 10 if step % 10 == 0 else None for step in steps]
        table["ess"], table["ess_micro"], table["kl"] = 0.5, 0.75, table["step"] / 100
        table.to_csv(f"{out}/table.csv", index=False)
        if diverges:
            raise DivergedError(f"step 101: the loss is nan; the steps before it are in {out}/table.csv")

    monkeypatch.setattr(runs, "post_train", post_train)
    return calls
