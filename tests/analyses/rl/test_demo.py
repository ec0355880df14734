"""The demonstration."""

import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import ProbeConfig
from coupling.analyses.rl.demo import SEEDS, STEPS, demo_config
from coupling.analyses.rl.post_training import post_train


def test_the_demo_takes_every_objective():
    assert demo_config("cispo").objective == "cispo"
    assert demo_config(task="addition", seed=4).seed == 4
    assert demo_config().probe == ProbeConfig(every=STEPS // 10, k=(10,), count=8)
    with pytest.raises(CouplingError, match="the demonstration: objective is 'ppo'"):
        demo_config("ppo")


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["grpo", "p3o"])
def test_the_demonstrations_reward_rises_over_its_seeds(objective, tmp_path):
    rows = post_train(demo_config(objective, probe=ProbeConfig(every=0)), tmp_path / "out", seeds=range(SEEDS))
    for seed in range(SEEDS):
        rewards = [row["reward"] for row in rows if row["seed"] == seed and "reward" in row]  # when it generates
        first, last = sum(rewards[:10]) / 10, sum(rewards[-10:]) / 10
        assert first > 0.05  # not flat at zero
        assert last > first + 0.1
    reused = [row["ess"] for row in rows if "reward" not in row]
    assert min(reused) < 0.995
