"""One run: how it is configured, and what of it is kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coupling.analyses.studies.lead_time import runs
from coupling.analyses.studies.lead_time.design import COUPLING, EVERY, HELD_OUT, RIVALS, SIGNALS, STEPS, Planned
from coupling.analyses.studies.lead_time.faults import ONSET
from coupling.analyses.studies.lead_time.runs import condense, run, run_config
from coupling.errors import DivergedError


def table(steps: int = STEPS) -> pd.DataFrame:
    """A run's table: means of updates are their numbers, and the measures are there at every fourth update."""
    content = pd.DataFrame({"step": np.arange(steps + 1.0)})
    for name in RIVALS:
        content[name] = content["step"].where(content["step"] > 0)
    for column in (HELD_OUT, *COUPLING.values()):
        content[column] = (content["step"] / 3).where(content["step"] % EVERY == 0)
    return content


def test_the_configuration_is_that_of_the_design():
    config = run_config(Planned("reward", 201))
    assert (config.objective, config.seed, config.trainer["max_steps"]) == ("p3o", 201, STEPS)
    assert config.reward == ("coupling.analyses.studies.lead_time.faults:reward_with_loophole",)
    assert run_config(Planned("rate", 201)).reward == ("exact",)
    assert (config.probe.every, config.probe.k, config.probe.count) == (EVERY, (10,), 4)


def test_means_are_over_the_updates_on_one_batch_of_rollouts():
    columns = condense(table(12))
    assert set(columns) == {"step", *SIGNALS}
    assert columns["step"] == [0.0, 4.0, 8.0, 12.0]
    assert columns["kl"] == [None, 2.5, 6.5, 10.5]
    assert columns["excess"] == columns[HELD_OUT] == [0.0, 1.3333, 2.6667, 4.0]


@pytest.fixture
def post_train(monkeypatch):
    """The arguments of ``post_train``, which writes a table; the rate's runs diverge."""
    calls = []

    def pretended(config, out, **options):
        calls.append((config, options))
        diverges = config.name == "rate"
        table(100 if diverges else STEPS).to_csv(Path(out) / "table.csv", index=False)
        if diverges:
            raise DivergedError(f"step 101: the loss is nan; the steps before it are in {out}/table.csv")

    monkeypatch.setattr(runs, "post_train", pretended)
    return calls


def test_a_result_is_kept_and_not_made_again(post_train, tmp_path):
    plan = Planned("temperature", 200)
    result = run(plan, tmp_path)
    assert run(plan, tmp_path) == result
    ((_, options),) = post_train
    assert options["rollout_func"].fault.temperature == 3.0
    assert (result["fault"], result["seed"], result["ended"]) == ("temperature", 200, "finished")
    assert result["columns"]["step"][-1] == STEPS


def test_a_run_that_diverges_is_a_result(post_train, tmp_path, capsys):
    result = run(Planned("rate", 200), tmp_path)
    assert result["ended"].startswith("diverged: step 101")
    assert "/tmp" not in result["ended"]
    assert result["columns"]["step"][-1] == 100
    assert "the loss is nan" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["rate", "reward", "stale", "temperature"])
def test_a_real_run_passes_its_onset(fault, monkeypatch, tmp_path):
    trainer = runs.TRAINER | {"max_steps": ONSET + EVERY, "per_device_train_batch_size": 16}
    monkeypatch.setattr(runs, "TRAINER", trainer)
    columns = run(Planned(fault, 190), tmp_path)["columns"]
    assert columns["step"][-1] == ONSET + EVERY
    assert all(value is not None for name in SIGNALS for value in columns[name][1:])
