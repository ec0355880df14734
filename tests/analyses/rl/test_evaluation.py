"""Evaluations in a run: pass@k against a count of all draws, held-out prompts, and training that is not disturbed."""

import math
from itertools import combinations

import pandas as pd
import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.evaluation import evaluation_rows, evaluation_settings, pass_at_k
from coupling.analyses.rl.post_training import post_train

TRAINER = {
    "max_steps": 4,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 4,
    "learning_rate": 1e-3,
}
REWARDS = """
def every_second(completions, **_):
    return [float(index % 2) for index in range(len(completions))]
"""


def make_config(model="m", **changes):
    content = {"model": str(model), "data": {"task": "brackets"}, "probe": {"every": 0}, "trainer": TRAINER}
    return from_mapping(content | changes)


@pytest.mark.parametrize("n", [1, 4, 6])
def test_pass_at_k_is_the_share_of_draws_with_a_solution(n):
    for solved in range(n + 1):
        for k in range(1, n + 1):
            draws = list(combinations([True] * solved + [False] * (n - solved), k))
            assert pass_at_k(n, solved, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_a_task_draws_held_out_prompts_and_other_data_name_them(tmp_path):
    assert evaluation_rows(make_config()) is None
    rows = evaluation_rows(make_config(evaluation={"count": 5}))
    assert len(rows) == 5
    assert rows["prompt"] == evaluation_rows(make_config(seed=7, evaluation={"count": 5}))["prompt"]  # for every seed
    (tmp_path / "held-out.jsonl").write_text('{"question": "(=", "answer": ")"}\n')
    data = {"file": str(tmp_path / "held-out.jsonl"), "prompt": "question"}
    assert evaluation_rows(make_config(evaluation={"data": data}))["prompt"] == ["(="]
    make_config(data=data)  # nothing is missing without an evaluation
    with pytest.raises(CouplingError, match="names no held-out prompts"):
        make_config(data=data, evaluation={})


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"every": 0}, "evaluation.every is 0, but must be at least 1"),
        ({"samples": 4, "k": [1, 8]}, r"evaluation.k is \[1, 8\], but must contain numbers from 1 to .*samples, 4"),
        ({"k": []}, "evaluation.k"),
        ({"solved": "yes"}, "evaluation.solved is 'yes', but must be a number"),
        ({"pass": 1}, "there is no key evaluation.pass"),
        ({"data": {"file": "x", "task": "brackets"}}, "data needs exactly one"),
        ([], "evaluation is .*must be a mapping"),
    ],
)
def test_refusals(evaluation, message):
    with pytest.raises(CouplingError, match=message):
        make_config(evaluation=evaluation)


def test_batches_hold_whole_groups():
    for samples, count in ((8, 64), (3, 10), (500, 2)):
        settings = evaluation_settings(make_config(evaluation={"samples": samples, "count": count}).evaluation)
        assert settings["per_device_eval_batch_size"] % samples == 0
        assert settings["per_device_eval_batch_size"] <= max(256, samples)
    assert evaluation_settings(None) == {}


def test_a_run_logs_pass_at_k_and_trains_as_without(small_model, tmp_path):
    (tmp_path / "rewards.py").write_text(REWARDS)
    evaluation = {"every": 2, "count": 6, "samples": 4, "k": [1, 2, 4]}
    tables = {}
    for name, changes in (("without", {}), ("with", {"evaluation": evaluation})):
        config = make_config(small_model, reward="rewards:every_second", **changes)
        post_train(config, tmp_path / name, rewards_folder=tmp_path)
        tables[name] = pd.read_csv(tmp_path / name / "table.csv").set_index("step")
    found = tables["with"]
    # of four completions two are solved: pass@1 = 1/2, pass@2 = 1 - 1/6, pass@4 = 1
    for k, value in ((1, 1 / 2), (2, 5 / 6), (4, 1)):
        assert found[f"eval_pass@{k}"].dropna().to_dict() == pytest.approx({0: value, 2: value, 4: value})
    assert found["eval_reward"].dropna().to_dict() == pytest.approx({0: 0.5, 2: 0.5, 4: 0.5})
    for column in ("loss", "reward", "grad_norm", "ess"):
        assert found[column].dropna().tolist() == tables["without"][column].dropna().tolist(), column
    assert not math.isnan(found.loc[4, "loss"])
