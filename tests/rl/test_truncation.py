"""Truncated sampling: which settings count, and that it is said where ratios cannot show it."""

import warnings

import pytest
from trl import GRPOConfig

from coupling.rl.ess_logging import EssLogging
from coupling.rl.truncation import truncation
from tests.tiny_policy import TRAINING, logged, make_grpo_trainer, make_trainer, scripted


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, {}),
        ({"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}, {}),
        ({"top_k": -1}, {}),
        ({"top_k": 2}, {"top_k": 2}),
        ({"top_p": 0.9}, {"top_p": 0.9}),
        ({"min_p": 0.1}, {"min_p": 0.1}),
        ({"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"top_k": 2, "generation_kwargs": {"top_k": 0}}, {}),
        ({"generation_kwargs": {"temperature": 0.7}}, {"temperature": 0.7}),
        ({"temperature": 0.7}, {}),  # the policy's log-probabilities are at this temperature
    ],
)
def test_settings_that_change_the_distribution(options, changed, tmp_path):
    assert truncation(GRPOConfig(output_dir=str(tmp_path), **TRAINING | options)) == changed


def train(trainer):
    """How often truncation was warned of, and what was logged of it under either name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    said = [str(item.message) for item in caught if "ratios are to the policy without" in str(item.message)]
    return said, logged(trainer, "p3o/truncation_unseen") + logged(trainer, "ess/truncation_unseen")


def test_it_is_said_once_and_logged_at_every_step(tmp_path):
    for trainer, ess in (
        (make_trainer(tmp_path / "a", top_k=2, max_steps=3), "p3o/ess"),
        (make_grpo_trainer(tmp_path / "b", EssLogging, top_k=2, max_steps=3), "ess/batch"),
    ):
        said, log = train(trainer)
        assert len(said) == 1
        assert "sampled with top_k=2" in said[0]
        assert log == [1.0] * 3
        assert logged(trainer, ess) == [1.0] * 3  # which is why it has to be said


def test_nothing_is_said_where_the_sampler_gives_log_probabilities_or_nothing_is_truncated(tmp_path):
    for options in ({"top_k": 2, "rollout_func": scripted}, {}):
        assert train(make_trainer(tmp_path / "a", max_steps=1, **options)) == ([], [])
        assert train(make_grpo_trainer(tmp_path / "b", EssLogging, max_steps=1, **options)) == ([], [])
