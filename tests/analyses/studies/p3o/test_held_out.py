"""The policy's own reward through a run: its value, when it is logged, and that training is the same with it."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from coupling.analyses.rl.config import DataConfig, ProbeConfig, RunConfig
from coupling.analyses.rl.post_training import post_train
from coupling.analyses.rl.tasks import task
from coupling.analyses.rl.warm_start import sampled_reward, warm_start
from coupling.analyses.studies.p3o.held_out import HeldOutReward
from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy


@pytest.fixture
def config(tmp_path_factory):
    model = warm_start("brackets", steps=60, cache=tmp_path_factory.getbasetemp() / "cache")
    trainer = {
        "max_steps": 3,
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 6,
        "learning_rate": 1e-3,
    }
    return RunConfig(data=DataConfig(task="brackets"), model=str(model), trainer=trainer, probe=ProbeConfig(every=0))


def test_it_is_the_reward_of_the_policy_and_not_of_what_samples_its_rollouts(config, tmp_path):
    rollouts = BehaviorPolicy(bits=2, max_new_tokens=6)  # two bits destroy what was learned
    held_out = HeldOutReward(task("brackets"), every=2, count=256)
    rows = post_train(config, tmp_path / "out", rollout_func=rollouts, prepare=held_out.attach)
    rewards = {row["step"]: row["held_out_reward"] for row in rows if "held_out_reward" in row}
    assert sorted(rewards) == [0, 2]
    model = AutoModelForCausalLM.from_pretrained(config.model)
    expected = sampled_reward(model, AutoTokenizer.from_pretrained(config.model), task("brackets"), count=256)
    assert rewards[0] == expected > 0.05
    assert rows[1]["reward"] < rewards[0] / 2


def test_training_is_the_same_with_it(config, tmp_path):
    plain = post_train(config, tmp_path / "plain")
    held_out = HeldOutReward(task("brackets"), every=1, count=16)
    watched = post_train(config, tmp_path / "watched", prepare=held_out.attach)
    for name in ("loss", "reward", "grad_norm"):
        assert [row[name] for row in plain] == [row[name] for row in watched if row["step"]]
