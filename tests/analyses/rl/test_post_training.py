"""Runs of RL through TRL: their tables, and what stops them."""

import json
import math
import sys
from pathlib import Path

import pandas as pd
import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.log import COLUMNS
from coupling.analyses.rl.post_training import post_train
from coupling.errors import DivergedError
from coupling.figures import rl
from coupling.figures.columns import read_table

SMALL = {
    "max_steps": 3,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 4,
    "learning_rate": 1e-4,
}
BAD_REWARDS = """
def nan_at_two(completions, trainer_state, **_):
    return [float("nan") if trainer_state.global_step == 1 else float(len(text)) for text in completions]

def raises_at_two(completions, trainer_state, **_):
    if trainer_state.global_step == 1:
        raise KeyError("who")
    return [float(len(text)) for text in completions]

async def later(completions, **_):
    return [float(len(text)) for text in completions]
"""


@pytest.fixture
def configured(small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad_rewards.py").write_text(BAD_REWARDS)

    def config(trainer=(), **changes):
        content = {
            "model": str(small_model),
            "objective": "grpo",
            "data": {"task": "brackets"},
            "probe": {"every": 0},
            "trainer": SMALL | dict(trainer),
        }
        return from_mapping(content | changes)

    return config


def test_a_run_and_its_table(configured):
    seen = []
    config = configured(save=True, name="mine")
    rows = post_train(config, "out", seeds=(0, 1), progress=lambda *arguments: seen.append(arguments[:3]))
    table = pd.read_csv("out/table.csv")
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert len(table) == len(rows) == 6
    assert table.step.tolist() == [1, 2, 3] * 2
    assert table.seed.tolist() == [0, 0, 0, 1, 1, 1]
    assert set(table.run) == {"mine"}
    for name in ("reward", "loss", "grad_norm", "completion_length"):
        assert table[name].notna().all()
    assert table["score"].isna().all()  # without a probe
    assert (table["ess"] == 1).all()  # one update per generation
    assert (table["kl"].abs() < 1e-6).all()
    assert seen == [(seed, step, 3) for seed in (0, 1) for step in (1, 2, 3)]
    summary = json.loads(Path("out/run.json").read_text())
    assert (summary["finished"], summary["diverged"], summary["error"]) == (True, False, None)
    assert summary["config"]["trainer"]["learning_rate"] == 1e-4
    assert "trl" in summary["environment"]
    assert Path("out/model/seed-1/model.safetensors").exists()
    rl(read_table("out/table.csv", "rl"))
    with pytest.raises(CouplingError, match="`overwrite=True`"):
        post_train(config, "out")
    again = post_train(config, "out", seeds=(0, 1), overwrite=True)
    assert again == rows  # the same seeds, the same numbers


@pytest.mark.parametrize("objective", ["dapo", "cispo"])
def test_other_objectives_are_trls(configured, objective):
    rows = post_train(configured(objective=objective, trainer={"max_steps": 1}), "out")
    assert rows[0]["run"] == objective
    assert math.isfinite(rows[0]["loss"])


def test_two_rewards_one_of_them_asynchronous(configured):
    rows = post_train(configured(reward=["exact", "bad_rewards:later"], trainer={"max_steps": 1}), "out")
    assert rows[0]["reward"] == pytest.approx(
        rows[0]["rewards/exact/mean"] + rows[0]["rewards/bad_rewards:later/mean"], abs=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "steps", "parts"),
    [
        ({"reward": "bad_rewards:nan_at_two"}, 1, ["step 2", "bad_rewards:nan_at_two", "returned nan"]),
        ({"reward": "bad_rewards:raises_at_two"}, 1, ["step 2", "bad_rewards:raises_at_two", "KeyError: 'who'"]),
        (
            {"reward": "bad_rewards:later", "trainer": {"learning_rate": 1e30, "max_grad_norm": 0.0}},
            1,
            ["step 2", "the model diverged", "trainer.learning_rate"],
        ),
        (
            {"trainer": {"max_completion_length": 1, "generation_kwargs": {"forced_eos_token_id": 1}}},
            0,
            ["step 1", "all 8 completions are empty"],
        ),
    ],
    ids=["nan", "raises", "diverges", "empty"],
)
def test_a_run_that_stops_leaves_the_table_of_the_steps_before(configured, changes, steps, parts):
    with pytest.raises(CouplingError) as refusal:
        post_train(configured(**changes), "out")
    for part in parts:
        assert part in str(refusal.value)
    summary = json.loads(Path("out/run.json").read_text())
    assert summary["finished"] is False
    assert summary["diverged"] == isinstance(refusal.value, DivergedError) == ("diverged" in " ".join(parts))
    assert summary["error"] in str(refusal.value)
    if steps:
        table = pd.read_csv("out/table.csv")
        assert table.step[table.reward.notna()].tolist()[:steps] == list(range(1, steps + 1))
        assert "out/table.csv" in str(refusal.value)
    else:
        assert not Path("out/table.csv").exists()


@pytest.mark.parametrize(
    "trainer",
    [
        {"scale_rewards": "nope"},
        {"report_to": "no_such_tracker"},
        {"lr_scheduler_type": "none"},
        {"optim": "none"},
    ],
)
def test_settings_that_trl_and_transformers_refuse_are_one_line(configured, trainer):
    with pytest.raises(CouplingError, match=r"settings are refused|cannot set up RL|cannot begin"):
        post_train(configured(trainer=trainer), "out")


def test_refusals_before_anything_is_trained(configured, tmp_path):
    with pytest.raises(CouplingError, match=r"no checkpoint in \./nowhere"):
        post_train(configured(model="./nowhere"), "a")
    with pytest.raises(CouplingError, match="settings are refused"):
        post_train(
            configured(trainer={"num_generations": 3}), "a"
        )  # a run that failed before its first step is not in the way
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(CouplingError, match="contains other files"):
        post_train(configured(), "full", overwrite=True)
    assert (tmp_path / "full" / "diary.txt").exists()


def test_fewer_prompts_than_a_batch_needs_are_one_line(configured):
    Path("one.jsonl").write_text('{"prompt": "(", "answer": ")"}\n')
    config = configured({"per_device_train_batch_size": 8, "num_generations": 4}, data={"file": "one.jsonl"})
    with pytest.raises(CouplingError, match="no step was made: the data has 1 prompts, and a batch needs 2"):
        post_train(config, "out")
    assert json.loads(Path("out/run.json").read_text())["finished"] is False


def test_truncation_that_the_ratios_do_not_show_is_said(configured):
    notes = []
    post_train(configured({"max_steps": 1}), "whole", notify=notes.append)
    assert notes == []
    post_train(configured({"max_steps": 1, "top_k": 2}), "out", notify=notes.append)
    (note,) = notes
    assert "rollouts are sampled with top_k=2, and the sampler gives no log-probabilities" in note


def test_coupling_is_measured_through_a_run(configured):
    plain = post_train(configured(trainer={"max_steps": 4}), "plain")
    probed = post_train(configured(trainer={"max_steps": 4}, probe={"every": 2, "k": [4, 8], "count": 2}), "probed")
    measured = {row["step"]: row for row in probed if "score" in row}
    assert sorted(measured) == [0, 2, 4]
    assert measured[0]["mismatch_to_initial"] == pytest.approx(0, abs=1e-6)
    assert measured[4]["mismatch_to_initial"] > measured[0]["mismatch_to_initial"]
    for row in measured.values():
        assert row["excess"] == pytest.approx((row["score"] - row["chance"]) / (1 - row["chance"]), abs=1e-4)
        assert "coupling/score_k8_p2" in row
    assert [row["reward"] for row in probed if row["step"]] == [row["reward"] for row in plain]
    assert [row["loss"] for row in probed if row["step"]] == [row["loss"] for row in plain]


def test_a_run_with_adapters_and_settings_that_are_refused(configured, monkeypatch):
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    changes = {"lora": lora, "reward": "bad_rewards:later", "save": True, "probe": {"every": 2, "k": 4, "count": 1}}
    config = configured(objective="p3o", trainer={"max_steps": 2, "learning_rate": 1e-2}, **changes)
    rows = post_train(config, "out")
    assert rows[-1]["mismatch_to_initial"] > 1e-3
    saved = json.loads(Path("out/model/adapter_config.json").read_text())
    assert (saved["r"], saved["lora_alpha"]) == (4, 8)
    assert post_train(config, "again") == rows  # the seed determines the initial adapters
    for given, part in (
        ({"rank": 4}, r"no setting lora\.rank.*known are .*lora_alpha"),
        ({"r": 0}, "positive integer"),
        ({"target_modules": "nothing"}, "nothing"),
        ({"bias": "some"}, "some"),
    ):
        with pytest.raises(CouplingError, match=part):
            post_train(configured(lora=given), "refused")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CouplingError, match=r"pip install 'block-coupling\[lora\]'"):
        post_train(configured(lora=lora), "refused")


def test_p3o_logs_its_sample_size(configured):
    rows = post_train(configured(objective="p3o"), "out")
    assert all(0 < row["ess"] <= 1 and row["kl"] >= 0 for row in rows)
