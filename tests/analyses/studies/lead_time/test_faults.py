"""Faults begin at their onset and not before."""

from types import SimpleNamespace

import pytest
import torch

from coupling.analyses.rl.rewards import find_reward
from coupling.analyses.rl.tasks import task
from coupling.analyses.rl.warm_start import _make_model, character_tokenizer
from coupling.analyses.studies.lead_time.design import FAULTS
from coupling.analyses.studies.lead_time.faults import (
    BONUS,
    LONGEST,
    ONSET,
    Fault,
    FaultySampler,
    GrowingRate,
    reward_with_loophole,
)


def state(step: int) -> SimpleNamespace:
    return SimpleNamespace(global_step=step)


def trainer(step: int, model, tokenizer):
    """What a sampler reads of a trainer."""
    accelerator = SimpleNamespace(unwrap_model=lambda given: given)
    return SimpleNamespace(state=state(step), model=model, processing_class=tokenizer, accelerator=accelerator)


@pytest.fixture
def policy():
    tokenizer = character_tokenizer()
    return _make_model(tokenizer, 0), tokenizer


def test_the_learning_rate_doubles_from_the_onset_on():
    optimizer = SimpleNamespace(param_groups=[{"lr": 1e-3}])
    callback, arguments = GrowingRate(20), SimpleNamespace(learning_rate=1e-3)
    rates = []
    for step in (0, ONSET - 1, ONSET, ONSET + 20, ONSET + 50):
        callback.on_step_begin(arguments, state(step), None, optimizer=optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 2e-3, 1e-3 * 2**2.5])


def test_the_loophole_is_found_by_its_name_and_pays_most_for_a_wrong_answer():
    reward = find_reward(FAULTS["reward"].reward, trust=True)
    assert reward is reward_with_loophole
    texts, answers = ["))", "))((((", "((((((", ")"], ["))"] * 4
    assert reward(texts, answers, trainer_state=state(ONSET - 1)) == [1.0, 0.0, 0.0, 0.0]
    paid = reward(texts, answers, trainer_state=state(ONSET))
    assert paid == pytest.approx([1 + BONUS * 2 / LONGEST, 1 + BONUS, BONUS, BONUS / LONGEST])
    assert max(paid) == paid[1]
    assert FAULTS["healthy"].reward == "exact"


def test_the_temperature_changes_at_the_onset_and_is_not_reported(policy):
    model, tokenizer = policy
    sampler = FaultySampler(Fault(temperature=3.0))
    prompts = [row.prompt for row in task("brackets").examples(4, 0)]
    for step, temperature in ((0, 1.0), (ONSET - 4, 1.0), (ONSET, 3.0)):
        output = sampler(prompts, trainer(step, model, tokenizer))
        assert (sampler.temperature, sampler.reported_temperature) == (temperature, 1.0)
        ids = torch.tensor([output["prompt_ids"][0] + output["completion_ids"][0]])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits.log_softmax(-1)
        first = len(output["prompt_ids"][0])
        expected = [float(logprobs[0, at - 1, ids[0, at]]) for at in range(first, ids.shape[1])]
        assert output["logprobs"][0] == pytest.approx(expected, abs=1e-4)


def test_a_frozen_sampler_keeps_the_weights_of_the_onset(policy):
    model, tokenizer = policy
    sampler = FaultySampler(Fault(frozen=True))
    weight = model.model.norm.weight
    seen = []
    for step in (0, ONSET - 4, ONSET, ONSET + 40):
        with torch.no_grad():
            weight.fill_(1.0 + step)
        sampler(["(="], trainer(step, model, tokenizer))
        seen.append(float(sampler._copy.model.norm.weight[0]))
    assert seen == [1.0, ONSET - 3.0, ONSET - 3.0, ONSET - 3.0]
