"""One run: how it is configured, what of it is kept, and when its result counts."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from coupling.analyses.studies.off_policy.design import OBJECTIVES, Planned
from coupling.analyses.studies.off_policy.runs import condense, run, run_config
from coupling.analyses.studies.resumable import read_result

PLAN = Planned("lag 0 to 4", OBJECTIVES[3], 100)


def test_the_configuration_is_that_of_the_design():
    config = run_config(PLAN)
    assert (config.objective, config.seed, config.trainer["epsilon"]) == ("dapo", 100, 0.2)
    assert config.trainer["max_steps"] == 300
    assert run_config(replace(PLAN, objective=OBJECTIVES[2])).trainer["kl_estimator"] == "weighted"
    assert run_config(replace(PLAN, objective=OBJECTIVES[1])).trainer["ess_scope"] == "micro"
    assert run_config(replace(PLAN, condition="T 1.2 as 1")).trainer["num_iterations"] == 4
    assert "num_iterations" not in config.trainer


def test_a_result_is_kept_and_not_made_again(made, tmp_path):
    result = run(PLAN, tmp_path)
    assert run(PLAN, tmp_path) == result == read_result(PLAN, tmp_path)
    assert len(made) == 1
    rollouts = made[0][1]
    assert rollouts.ages == (0, 4)
    assert (result["ended"], result["condition"], result["objective"]) == ("finished", "lag 0 to 4", "DAPO 0.2")
    assert result["columns"]["step"] == list(range(0, 301, 10))
    assert result["columns"]["kl"][1] == pytest.approx(0.055)  # the mean over updates 1 to 10


@pytest.mark.parametrize("content", ["", "[]", "{", '{"design": "another"}'])
def test_a_result_that_is_damaged_or_of_another_design_does_not_count(content, made, tmp_path):
    (tmp_path / PLAN.file).write_text(content)
    assert read_result(PLAN, tmp_path) is None
    run(PLAN, tmp_path)
    assert json.loads((tmp_path / PLAN.file).read_text())["design"] == PLAN.design


def test_a_run_that_diverges_is_a_result(made, tmp_path, capsys):
    made.diverging = "DAPO 0.2"
    result = run(PLAN, tmp_path)
    assert result["ended"].startswith("diverged: step 101: the loss is nan")
    assert "/tmp" not in result["ended"]
    assert result["columns"]["step"][-1] == 100
    assert "the loss is nan" in capsys.readouterr().err


def test_means_are_over_the_updates_since_the_measurement_before():
    table = pd.DataFrame(
        {
            "step": [0, 1, 2, 3, 4],
            "held_out_reward": [0.123456789, None, 0.2, None, 0.4],
            "ess": [None, 1.0, 0.5, 0.25, 0.75],
            "score": [0.1, None, None, None, 0.3],
        }
    )
    assert condense(table) == {
        "step": [0.0, 2.0, 4.0],
        "held_out_reward": [0.12346, 0.2, 0.4],
        "score": [0.1, None, 0.3],
        "ess": [None, 0.75, 0.5],
    }
