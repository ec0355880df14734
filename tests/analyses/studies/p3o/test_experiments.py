"""P3O's experiments: what is compared, what is not run again, and what the command writes."""

import json
import sys

import pandas as pd
import pytest

from coupling.analyses.studies.p3o import experiments
from coupling.errors import CouplingError, DivergedError


def test_every_condition_has_both_objectives():
    cases = experiments.cases()
    assert len({case.folder for case in cases}) == len(cases) == 28
    assert {case.experiment for case in cases} == set(experiments.EXPERIMENTS)
    clip = [case for case in cases if case.experiment == "clip"]
    assert [case.trainer.get("epsilon") for case in clip] == [None, 0.2, 0.4, 0.6]
    for experiment in ("temperature", "precision", "stale", "rate"):
        conditions = [(case.objective, case.name.split(", ")[1]) for case in cases if case.experiment == experiment]
        assert {name for objective, name in conditions if objective == "p3o"} == {
            name for objective, name in conditions if objective == "grpo"
        }
    ages = [case.rollouts["age"] for case in cases if case.experiment == "stale" and case.objective == "p3o"]
    assert ages == [1, 4, 16]
    untold = [case.rollouts for case in cases if case.rollouts and "reported_temperature" in case.rollouts]
    assert {(r["temperature"], r["reported_temperature"]) for r in untold} == {(0.6, 1.0), (1.2, 1.0)}


TABLE = """step,reward,ess,kl,score,excess,mismatch_to_initial,held_out_reward
0,,,,0.1,0.05,0,0.3
1,0.2,1,0,,,,
2,0.4,0.5,0.1,0.2,0.15,0.4,0.4
"""


@pytest.fixture
def fake_run(monkeypatch):
    """Runs that only write their files: the calls, and the error that ends them."""
    calls, outcome = [], {"error": None}

    def post_train(config, out, **options):
        calls.append((config.name, options.get("rollout_func")))
        out.mkdir(parents=True, exist_ok=True)
        error = outcome["error"]
        (out / "table.csv").write_text(TABLE)
        summary = {
            "config": json.loads(json.dumps(config.as_dict())),
            "finished": error is None,
            "diverged": isinstance(error, DivergedError),
            "error": error and str(error),
        }
        (out / "run.json").write_text(json.dumps(summary))
        if error is not None:
            raise error

    monkeypatch.setattr(experiments, "post_train", post_train)
    return calls, outcome


def test_a_run_that_is_finished_is_not_run_again_unless_its_settings_changed(fake_run, tmp_path):
    calls, _ = fake_run
    case = next(case for case in experiments.cases() if case.experiment == "stale")
    for _ in range(2):
        experiments.run_case(case, 0, tmp_path, steps=4)
    assert len(calls) == 1
    assert calls[0][1].ages == (case.rollouts["age"],) * 2
    experiments.run_case(case, 0, tmp_path, steps=5)
    experiments.run_case(case, 1, tmp_path, steps=5)
    assert len(calls) == 3


def test_a_run_that_diverged_is_a_result_and_one_that_failed_is_not(fake_run, tmp_path):
    calls, outcome = fake_run
    case = experiments.cases()[0]
    outcome["error"] = DivergedError("its loss is nan")
    for _ in range(2):
        experiments.run_case(case, 0, tmp_path)
    assert len(calls) == 1
    assert set(experiments.collect(tmp_path, (0,)).run) == {case.name}
    outcome["error"] = CouplingError("step 2: the reward raised")  # whatever its message says, it did not diverge
    with pytest.raises(CouplingError, match="reward raised"):
        experiments.run_case(case, 1, tmp_path)
    assert set(experiments.collect(tmp_path).seed) == {0}


def test_the_command_writes_its_tables_and_its_picture(fake_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["p3o", "--out", str(tmp_path), "--only", "clip", "--seeds", "2"])
    experiments.main()
    table = pd.read_csv(tmp_path / "p3o.csv")
    assert table.run.tolist() == ["p3o", "grpo 0.2", "grpo 0.4", "grpo 0.6"]
    assert table.seeds.tolist() == [2] * 4
    assert len(pd.read_csv(tmp_path / "p3o-runs.csv")) == 8
    assert (tmp_path / "p3o-clip.png").stat().st_size > 10_000
    assert "grpo 0.6" in capsys.readouterr().out
