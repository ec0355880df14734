"""Rollouts from another policy: what they sample from, how old the policy is, and that the objective sees it."""

import pytest
import torch

from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy, round_weights
from coupling.rl.ess_logging import EssLogging, RatioToBehavior
from tests.tiny_policy import logged, make_grpo_trainer, make_policy, make_trainer


def completion_logprobs(model, ids, completion, temperature):
    """Log-probabilities of a completion's tokens at a temperature."""
    sequence = torch.tensor([[*ids, *completion]])
    logprobs = torch.log_softmax(model(sequence).logits[0].float() / temperature, dim=-1)
    return [float(logprobs[len(ids) - 1 + i, token].detach()) for i, token in enumerate(completion)]


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 1.5}, {"bits": 3, "temperature": 0.7}, {"temperature": 0.6, "reported_temperature": 1.0}],
)
def test_log_probabilities_are_those_of_the_policy_that_sampled_at_the_temperature_reported(options, tmp_path):
    trainer = make_trainer(tmp_path)
    rollouts = BehaviorPolicy(max_new_tokens=5, **options)
    rows = rollouts(["a b", "c", "d e f"], trainer)
    sampler = make_policy().eval()
    if "bits" in options:
        round_weights(sampler, options["bits"])
    for ids, completion, logprobs in zip(*rows.values(), strict=True):
        reported = options.get("reported_temperature", options.get("temperature", 1.0))
        expected = completion_logprobs(sampler, ids, completion, reported)
        assert logprobs == pytest.approx(expected, abs=1e-4)
        assert 1 not in completion[:-1]  # nothing after the end token


def test_age_is_counted_in_updates(tmp_path):
    trainer, rollouts = make_trainer(tmp_path), BehaviorPolicy(age=2)
    weight = next(trainer.model.parameters())
    sampling_weights = []
    for update in range(5):
        with torch.no_grad():
            weight.fill_(update)
        sampling_weights.append(float(next(rollouts._sampler(trainer.model).parameters()).flatten()[0]))
    assert sampling_weights == [0, 0, 0, 1, 2]


def test_rounding_to_8_bits_moves_each_weight_by_at_most_half_a_level():
    model = make_policy()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = round_weights(make_policy()).state_dict()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            level = before[f"{name}.weight"].abs().amax(dim=1, keepdim=True) / 127
            moved = (after[f"{name}.weight"] - before[f"{name}.weight"]).abs()
            assert (moved <= 0.501 * level).all()
            assert moved.max() > 0
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("options", "visible"),
    [
        ({}, False),
        ({"temperature": 2.0}, True),
        ({"temperature": 2.0, "reported_temperature": 1.0}, False),
        ({"bits": 3}, True),
    ],
)
def test_the_effective_sample_size_shows_a_mismatch_that_is_reported(options, visible, tmp_path):
    trainer = make_trainer(tmp_path, rollout_func=BehaviorPolicy(max_new_tokens=6, **options), max_steps=1)
    trainer.train()
    (ess,) = logged(trainer, "p3o/ess")
    assert (ess < 0.9995) == visible


def test_grpo_takes_its_ratios_to_the_policy_that_sampled(tmp_path):
    rollouts = BehaviorPolicy(temperature=2.0, max_new_tokens=6)
    trainer = make_grpo_trainer(tmp_path, RatioToBehavior, EssLogging, rollout_func=rollouts, max_steps=1)
    trainer.train()
    assert logged(trainer, "ess/batch")[0] < 0.9995
