"""Micro-batches of TRL: which tokens count, and whose log-probabilities they have."""

import torch

from coupling.rl.rollouts import behavior_logprobs, counted_mask, proximal_logprobs

OWN, OLD = torch.tensor([[-1.0, -2.0]], requires_grad=True), torch.tensor([[-1.5, -2.5]])
ENGINE = torch.tensor([[-3.0, torch.nan]])


def test_tokens_that_a_tool_wrote_do_not_count():
    mask = torch.tensor([[1, 1, 0]])
    assert counted_mask({"completion_mask": mask}).tolist() == [[1, 1, 0]]
    assert counted_mask({"completion_mask": mask, "tool_mask": torch.tensor([[1, 0, 1]])}).tolist() == [[1, 0, 0]]


def test_the_engine_s_come_first_and_then_the_policy_s_when_it_generated():
    both = {"sampling_per_token_logps": ENGINE, "old_per_token_logps": OLD}
    assert behavior_logprobs(both, OWN).tolist() == [[-3.0, -2.5]]
    assert behavior_logprobs({"sampling_per_token_logps": ENGINE}, OWN).tolist() == [[-3.0, -2.0]]
    assert behavior_logprobs({"old_per_token_logps": OLD}, OWN) is OLD
    fresh = behavior_logprobs({}, OWN)
    assert fresh.tolist() == [[-1.0, -2.0]]
    assert not fresh.requires_grad
    assert behavior_logprobs({}, None) is None


def test_the_proximal_policy_is_never_the_engine():
    assert proximal_logprobs({"sampling_per_token_logps": ENGINE, "old_per_token_logps": OLD}, OWN) is OLD
    assert proximal_logprobs({"sampling_per_token_logps": ENGINE}, OWN).tolist() == [[-1.0, -2.0]]
    assert proximal_logprobs({"sampling_per_token_logps": ENGINE}, None) is None
