"""Rollouts from another policy: what they sample from, how old it is, and that the objective sees it."""

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy, round_weights
from coupling.rl.ess_logging import RatioStatistics, RatioToBehavior
from tests.rl.test_trainer import logged, make_trainer, weights
from tests.tiny_policy import count_a, make_policy, make_prompts, make_tokenizer, scripted


def scored(model, ids, completion, temperature):
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
        expected = scored(sampler, ids, completion, reported)
        assert logprobs == pytest.approx(expected, abs=1e-4)
        assert 1 not in completion[:-1]  # nothing after the end


def test_age_counts_updates(tmp_path):
    trainer, rollouts = make_trainer(tmp_path), BehaviorPolicy(age=2)
    weight = next(trainer.model.parameters())
    seen = []
    for update in range(5):
        with torch.no_grad():
            weight.fill_(update)
        seen.append(float(next(rollouts._sampler(trainer.model).parameters()).flatten()[0]))
    assert seen == [0, 0, 0, 1, 2]


def test_rounding_to_8_bits_moves_each_weight_by_half_a_step_at_most():
    model = make_policy()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = round_weights(make_policy()).state_dict()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            step = before[f"{name}.weight"].abs().amax(dim=1, keepdim=True) / 127
            moved = (after[f"{name}.weight"] - before[f"{name}.weight"]).abs()
            assert (moved <= 0.501 * step).all()
            assert moved.max() > 0
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


@pytest.mark.parametrize(("options", "sees"), [
    ({}, False), ({"temperature": 2.0}, True), ({"temperature": 2.0, "reported_temperature": 1.0}, False),
    ({"bits": 3}, True),
])  # fmt: skip
def test_the_objective_sees_the_mismatch(options, sees, tmp_path):
    trainer = make_trainer(tmp_path, rollout_func=BehaviorPolicy(max_new_tokens=6, **options), max_steps=1)
    trainer.train()
    (ess,) = logged(trainer, "p3o/ess")
    assert (ess < 0.9995) == sees


def test_trl_s_objectives_log_the_sample_size_too_and_train_the_same(tmp_path):
    settings = {
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6, "max_steps": 4,
        "learning_rate": 1e-2, "logging_steps": 1, "report_to": "none", "save_strategy": "no", "use_cpu": True,
        "bf16": False, "seed": 3, "disable_tqdm": True, "gradient_checkpointing": False, "num_iterations": 2,
    }  # fmt: skip
    trained = []
    for trainer_class in (GRPOTrainer, type("Watched", (RatioStatistics, GRPOTrainer), {})):
        trainer = trainer_class(
            make_policy(), reward_funcs=count_a, args=GRPOConfig(output_dir=str(tmp_path), **settings),
            train_dataset=make_prompts(), processing_class=make_tokenizer(),
        )  # fmt: skip
        trainer.train()
        trained.append(trainer)
    plain, watched = trained
    assert torch.equal(weights(plain), weights(watched))
    sizes = logged(watched, "p3o/ess")
    assert sizes[0] == 1
    assert sizes[1] < 1  # the second update on the same rollouts
    assert logged(watched, "p3o/kl_behavior")[1] > 0


def make_watched(folder, rollout_func=None, **options):
    settings = {
        "num_generations": 4, "max_completion_length": 6, "max_steps": 4, "learning_rate": 1.0, "optim": "sgd",
        "logging_steps": 1, "report_to": "none", "save_strategy": "no", "use_cpu": True, "bf16": False,
        "disable_tqdm": True, "gradient_checkpointing": False, "num_iterations": 2, "loss_type": "dapo",
    } | options  # fmt: skip
    return type("Watched", (RatioStatistics, GRPOTrainer), {})(
        make_policy(), reward_funcs=count_a, args=GRPOConfig(output_dir=str(folder), **settings),
        train_dataset=make_prompts(), processing_class=make_tokenizer(), rollout_func=rollout_func,
    )  # fmt: skip


def test_their_sample_size_is_that_of_the_whole_step_and_of_the_policy_that_sampled(tmp_path):
    whole = make_watched(tmp_path / "a", scripted, per_device_train_batch_size=16)
    split = make_watched(tmp_path / "b", scripted, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    for trainer in (whole, split):
        trainer.train()
    for name in ("p3o/ess", "p3o/kl_behavior"):
        assert len(logged(split, name)) == 4
        assert logged(split, name) == pytest.approx(logged(whole, name), rel=1e-3)
    assert max(logged(whole, "p3o/ess")) < 0.99  # from the first step on: scripted says how it scored what it wrote


def test_grpo_takes_its_ratios_to_the_policy_that_sampled(tmp_path):
    class Trainer(RatioToBehavior, RatioStatistics, GRPOTrainer):
        pass

    settings = {
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6, "max_steps": 1,
        "logging_steps": 1, "report_to": "none", "save_strategy": "no", "use_cpu": True, "bf16": False,
        "disable_tqdm": True, "gradient_checkpointing": False,
    }  # fmt: skip
    trainer = Trainer(
        make_policy(), reward_funcs=count_a, args=GRPOConfig(output_dir=str(tmp_path), **settings),
        train_dataset=make_prompts(), processing_class=make_tokenizer(),
        rollout_func=BehaviorPolicy(temperature=2.0, max_new_tokens=6),
    )  # fmt: skip
    trainer.train()
    assert logged(trainer, "p3o/ess")[0] < 0.9995
