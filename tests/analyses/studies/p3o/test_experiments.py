"""The experiments of RL: what is compared, what is not run again, and what the results hold, on tables by hand."""

import json
import sys

import pandas as pd
import pytest

from coupling.analyses.studies.p3o import experiments
from coupling.analyses.studies.p3o.results import by_case, by_run, goes_with_reward, ruined
from coupling.errors import CouplingError


def test_every_condition_has_both_objectives():
    found = experiments.cases()
    assert len({case.folder for case in found}) == len(found) == 28
    assert {case.experiment for case in found} == {"clip", "temperature", "precision", "stale", "rate"}
    clip = [case for case in found if case.experiment == "clip"]
    assert [case.trainer.get("epsilon") for case in clip] == [None, 0.2, 0.4, 0.6]
    for experiment in ("temperature", "precision", "stale", "rate"):
        conditions = [(case.objective, case.name.split(", ")[1]) for case in found if case.experiment == experiment]
        assert {name for objective, name in conditions if objective == "p3o"} == {
            name for objective, name in conditions if objective == "grpo"
        }
    ages = [case.rollouts["age"] for case in found if case.experiment == "stale" and case.objective == "p3o"]
    assert ages == [1, 4, 16]
    assumed = [case.rollouts for case in found if case.rollouts and "reported_temperature" in case.rollouts]
    assert {(r["temperature"], r["reported_temperature"]) for r in assumed} == {(0.6, 1.0), (1.2, 1.0)}


@pytest.fixture
def fake_run(monkeypatch):
    """A run that only leaves its files, and how often it was called."""
    calls, outcome = [], {"finished": True, "error": None}

    def run(config, out, **options):
        calls.append((config.name, options.get("rollout_func")))
        out.mkdir(parents=True, exist_ok=True)
        summary = {"config": json.loads(json.dumps(config.as_dict())), "finished": outcome["finished"]}
        (out / "table.csv").write_text(
            "step,reward,ess,kl,score,excess,mismatch_to_initial,held_out_reward\n"
            "0,,,,0.1,0.05,0,0.3\n1,0.2,1,0,,,,\n2,0.4,0.5,0.1,0.2,0.15,0.4,0.4\n"
        )
        if not outcome["finished"]:
            summary["error"] = outcome["error"]
        (out / "run.json").write_text(json.dumps(summary))
        if not outcome["finished"]:
            raise CouplingError(outcome["error"])

    monkeypatch.setattr(experiments, "run", run)
    return calls, outcome


def test_what_is_finished_is_not_run_again_unless_its_settings_changed(fake_run, tmp_path):
    calls, _ = fake_run
    case = next(case for case in experiments.cases() if case.experiment == "stale")
    for _ in range(2):
        experiments.run_case(case, 0, tmp_path, steps=4)
    assert len(calls) == 1
    assert calls[0][1].age == case.rollouts["age"]
    experiments.run_case(case, 0, tmp_path, steps=5)
    experiments.run_case(case, 1, tmp_path, steps=5)
    assert len(calls) == 3


def test_a_run_that_diverged_is_a_result_and_one_that_failed_is_not(fake_run, tmp_path):
    calls, outcome = fake_run
    case = experiments.cases()[0]
    outcome |= {"finished": False, "error": "step 2: the model diverged: its loss is nan"}
    for _ in range(2):
        experiments.run_case(case, 0, tmp_path)
    assert len(calls) == 1
    assert set(experiments.collect(tmp_path, (0,)).run) == {case.name}
    outcome["error"] = "step 2: the reward raised"
    with pytest.raises(CouplingError, match="reward raised"):
        experiments.run_case(case, 1, tmp_path)
    assert set(experiments.collect(tmp_path).seed) == {0}


def test_the_command_writes_its_tables_and_pictures(fake_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rl", "--out", str(tmp_path), "--only", "clip", "--seeds", "2"])
    experiments.main()
    table = pd.read_csv(tmp_path / "experiments.csv")
    assert table.run.tolist() == ["p3o", "grpo 0.2", "grpo 0.4", "grpo 0.6"]
    assert table.seeds.tolist() == [2] * 4
    assert len(pd.read_csv(tmp_path / "p3o-runs.csv")) == 8
    assert (tmp_path / "p3o-clip.png").stat().st_size > 10_000
    assert "grpo 0.6" in capsys.readouterr().out


def make_steps(seed, held_out, excess, name="p3o"):
    """Twelve steps, coupling and the policy's reward at 0, 6 and 12."""
    rows = [{"experiment": "rate", "run": name, "seed": seed, "step": step, "reward": step / 100, "ess": 1 - step / 24,
             "kl": 0.1, "score": None, "excess": None, "mismatch_to_initial": None, "held_out_reward": None}
            for step in range(13)]  # fmt: skip
    rows[0] |= {"reward": None, "ess": None, "kl": None}
    for place, step in enumerate((0, 6, 12)):
        rows[step] |= {"score": 0.1, "excess": excess[place], "mismatch_to_initial": place / 4,
                       "held_out_reward": held_out[place]}  # fmt: skip
    return rows


def test_the_results_of_a_table_by_hand():
    steps = pd.DataFrame([*make_steps(0, (0.4, 0.5, 0.7), (0.07, 0.08, 0.09)),
                          *make_steps(1, (0.4, 0.3, 0.1), (0.07, 0.12, 0.15))]).infer_objects()  # fmt: skip
    runs = by_run(steps)
    first = runs.iloc[0]
    assert (first.held_out_start, first.held_out_early) == (0.4, 0.5)
    assert first.held_out == pytest.approx(0.6)  # steps 3 to 12: those at 6 and 12
    assert first.reward_start == pytest.approx(0.02)
    assert first.reward == pytest.approx(0.075)
    assert (first.ess, first.ess_min) == (pytest.approx(1 - 6.5 / 24), 0.5)
    assert (first.excess_start, first.excess_early, first.excess) == (0.07, 0.08, 0.09)
    assert (first.mismatch_early, first.mismatch_to_initial) == (0.25, 0.5)
    assert ruined(runs).tolist() == [False, True]
    (case,) = by_case(runs).to_dict("records")
    assert (case["seeds"], case["held_out"]) == (2, pytest.approx(0.4))
    assert case["held_out_sd"] == pytest.approx(0.4 / 2**0.5)


def test_what_goes_with_reward_is_told_of_all_runs_and_of_the_sound_ones():
    excess = {0.5: 0.10, 0.6: 0.11, 0.7: 0.12, 0.05: 0.30}
    steps = [row for seed, (held_out, value) in enumerate(excess.items())
             for row in make_steps(seed, (0.4, held_out, held_out), (0.07, 0.07 + seed / 100, value))]  # fmt: skip
    table = goes_with_reward(by_run(pd.DataFrame(steps).infer_objects())).set_index(["group", "quantity"])
    assert table.loc[("all", "excess"), "runs"] == 4
    assert table.loc[("all", "excess"), "spearman"] == pytest.approx(-0.2)  # ranks 2 3 4 1 and 1 2 3 4
    assert table.loc[("sound", "excess"), "spearman"] == pytest.approx(1)
    assert table.loc[("sound", "excess"), "runs"] == 3
    assert table.loc[("all", "kl"), ["spearman", "p"]].isna().all()  # the same in all runs
