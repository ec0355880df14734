"""The mix-ins for TRL's objectives: what they log, that the loss stays TRL's, and what its ratios are relative to."""

import pytest
import torch

from coupling.rl.ess_logging import EssLogging, RatioToBehavior
from tests.tiny_policy import logged, make_grpo_trainer, scripted, weights


def test_the_sample_size_is_logged_and_training_is_the_same(tmp_path):
    settings = {"max_steps": 4, "num_iterations": 2}
    plain = make_grpo_trainer(tmp_path / "a", **settings)
    plain.train()  # before the next trainer is made, which seeds the random number generators again
    logging = make_grpo_trainer(tmp_path / "b", EssLogging, **settings)
    logging.train()
    assert torch.equal(weights(plain), weights(logging))
    sizes = logged(logging, "ess/batch")
    assert sizes[0] == 1
    assert sizes[1] < 1  # the second update on the same rollouts
    assert logged(logging, "ess/kl_behavior")[1] > 0


def test_the_sample_size_is_that_of_the_whole_step_and_relative_to_the_policy_that_sampled(tmp_path):
    settings = {"max_steps": 4, "num_iterations": 2, "learning_rate": 1.0, "optim": "sgd", "loss_type": "dapo"}
    settings |= {"rollout_func": scripted, "seed": 42}
    whole = make_grpo_trainer(tmp_path / "a", EssLogging, per_device_train_batch_size=16, **settings)
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    split = make_grpo_trainer(tmp_path / "b", EssLogging, **sizes, **settings)
    for trainer in (whole, split):
        trainer.train()
    for name in ("ess/batch", "ess/kl_behavior"):
        assert len(logged(split, name)) == 4
        assert logged(split, name) == pytest.approx(logged(whole, name), rel=1e-3)
    assert max(logged(whole, "ess/batch")) < 0.99  # from the first step: scripted reports its own log-probabilities


def test_grpo_takes_its_ratios_to_the_policy_that_sampled(tmp_path):
    settings = {"max_steps": 1, "rollout_func": scripted, "per_device_train_batch_size": 16, "seed": 42}
    clipped = []
    for mixins in ((), (RatioToBehavior,)):
        trainer = make_grpo_trainer(tmp_path, *mixins, **settings)
        trainer.train()
        clipped += logged(trainer, "clip_ratio/region_mean")
    without, with_it = clipped
    assert without == 0  # TRL treats the rollouts as the policy's own, so that every ratio is 1
    assert with_it > 0.2
