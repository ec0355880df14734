"""P3OTrainer on TRL: the loss of the whole batch however it is split, what is logged, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coupling.rl import P3OTrainer, P4OTrainer, p3o_loss
from tests.tiny_policy import (
    completion_logprobs,
    count_a,
    fixed_inputs,
    logged,
    loss_and_gradient,
    make_policy,
    make_prompts,
    make_tokenizer,
    make_trainer,
    scripted,
    weights,
)


def test_micro_batches_train_as_one_batch_does(tmp_path):
    # Two updates on the same rollouts: in the second one the ratios differ from 1, and between micro-batches.
    whole = make_trainer(tmp_path / "a", num_iterations=2, max_steps=4)
    whole.train()
    sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    split = make_trainer(tmp_path / "b", num_iterations=2, max_steps=4, **sizes)
    split.train()
    first, second = logged(whole, "p3o/ess"), logged(split, "p3o/ess")
    assert first[0] == 1
    assert min(first) < 0.999
    assert second == pytest.approx(first, rel=1e-4)
    moved = (weights(whole) - weights(make_trainer(tmp_path / "c"))).abs().max()
    assert (weights(whole) - weights(split)).abs().max() < 1e-3 * moved
    for name in (
        "kl_behavior",
        "cap_fraction",
        "kl_from_behavior",
        "ratio_mean",
        "ratio_max",
        "ratio_q05",
        "ratio_q95",
    ):
        assert logged(split, f"p3o/{name}") == pytest.approx(logged(whole, f"p3o/{name}"), rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize(("beta", "generations"), [(0.3, 1), (0.0, 2), (0.3, 2)])
def test_micro_batches_train_as_one_batch_with_a_reference_policy_and_several_steps_per_generation(
    beta, generations, tmp_path, monkeypatch
):
    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", lambda batch: batch)
    settings = {"learning_rate": 1.0, "optim": "sgd", "num_iterations": 2, "max_steps": 4, "beta": beta}

    def policy():
        model = make_policy()
        model.save_pretrained(tmp_path / "model")
        model.config._name_or_path = str(tmp_path / "model")  # the reference policy is loaded from there
        return model

    one_batch = {"per_device_train_batch_size": 16, "steps_per_generation": generations}
    two_micro_batches = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 2 * generations,
    }
    whole = make_trainer(tmp_path / "a", policy(), rollout_func=scripted, **one_batch, **settings)
    split = make_trainer(tmp_path / "b", policy(), rollout_func=scripted, **two_micro_batches, **settings)
    for trainer in (whole, split):
        trainer.train()
    assert logged(split, "p3o/ess") == pytest.approx(logged(whole, "p3o/ess"), rel=1e-4)
    assert len(set(logged(whole, "p3o/ess"))) > 1
    assert logged(split, "grad_norm") == pytest.approx(logged(whole, "grad_norm"), rel=1e-4)
    moved = (weights(whole) - weights(make_trainer(tmp_path / "c"))).abs().max()
    assert (weights(whole) - weights(split)).abs().max() < 1e-4 * moved


def test_what_is_logged(tmp_path):
    trainer = make_trainer(tmp_path, num_iterations=2, max_steps=2)
    trainer.train()
    names = "ess kl_behavior nonfinite cap_fraction kl_from_behavior ratio_mean ratio_max ratio_q05 ratio_q50 ratio_q95"
    for name in names.split():
        assert len(logged(trainer, f"p3o/{name}")) == 2, name
    low, median, high, largest = (logged(trainer, f"p3o/ratio_{name}")[1] for name in ("q05", "q50", "q95", "max"))
    assert low <= median <= high <= largest
    assert logged(trainer, "entropy")[0] > 0
    assert len(logged(trainer, "reward")) == 1  # TRL logs it when it generates


def test_the_trainer_s_loss_is_that_of_the_objective(tmp_path):
    trainer, inputs = make_trainer(tmp_path), fixed_inputs()
    loss, gradient = loss_and_gradient(trainer, inputs)
    logprobs, old, mask = completion_logprobs(trainer, inputs), inputs["old_per_token_logps"], inputs["completion_mask"]
    expected, metrics = p3o_loss(logprobs, old, inputs["advantages"], mask)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-4)
    trainer.model.zero_grad()
    expected.backward()
    wanted = torch.cat([p.grad.reshape(-1) for p in trainer.model.parameters()])
    assert torch.allclose(gradient, wanted, atol=1e-5)
    assert trainer._metrics["train"]["p3o/ess"] == [pytest.approx(metrics["ess"], rel=1e-4)]


def test_log_probabilities_of_another_engine_are_those_of_the_behavior_policy(tmp_path):
    trainer, inputs = make_trainer(tmp_path), fixed_inputs()
    sampled = inputs["old_per_token_logps"] - 0.7 * torch.rand(8, 5)
    sampled[2, 1] = torch.nan  # the engine could not score it
    with_engine, _ = loss_and_gradient(trainer, inputs | {"sampling_per_token_logps": sampled})
    filled = torch.where(sampled.isnan(), inputs["old_per_token_logps"], sampled)
    as_old, _ = loss_and_gradient(trainer, inputs | {"old_per_token_logps": filled})
    without, _ = loss_and_gradient(trainer, inputs)
    assert float(with_engine) == float(as_old)
    assert float(with_engine) != float(without)


def test_rollouts_of_a_rollout_function_bring_their_own_log_probabilities(tmp_path):
    def rollout(prompts, trainer):
        ids = trainer.processing_class(prompts)["input_ids"]
        completions = [[2, 3, 4, 1] for _ in prompts]
        logprobs = [[[-0.5 - 0.4 * (i % 2)] for i in range(4)] for _ in prompts]
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": [[x[0] for x in row] for row in logprobs]}

    trainer = make_trainer(tmp_path, rollout_func=rollout, max_steps=1)
    trainer.train()
    assert logged(trainer, "p3o/ess")[0] < 0.999


def test_tool_tokens_and_empty_batches_do_not_count(tmp_path):
    trainer, inputs = make_trainer(tmp_path), fixed_inputs()
    tools = torch.ones(8, 5, dtype=torch.long)
    tools[:, 3:] = 0
    loss, _ = loss_and_gradient(trainer, inputs | {"tool_mask": tools})
    mask = inputs["completion_mask"] * tools
    logprobs = completion_logprobs(trainer, inputs)
    expected, _ = p3o_loss(logprobs, inputs["old_per_token_logps"], inputs["advantages"], mask)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-4)
    loss, gradient = loss_and_gradient(trainer, inputs | {"completion_mask": torch.zeros(8, 5, dtype=torch.long)})
    assert float(loss) == 0
    assert (gradient == 0).all()


def test_beta_adds_trl_s_reference_kl(tmp_path):
    trainer, inputs = make_trainer(tmp_path), fixed_inputs()
    plain, _ = loss_and_gradient(trainer, inputs)
    reference = inputs["old_per_token_logps"] + 0.3
    trainer.beta = 0.5
    loss, _ = loss_and_gradient(trainer, inputs | {"ref_per_token_logps": reference})
    difference = reference - completion_logprobs(trainer, inputs).detach()
    kl = (torch.exp(difference) - difference - 1)[inputs["completion_mask"].bool()].mean()
    assert float(loss - plain) == pytest.approx(0.5 * float(kl), rel=1e-4)


RANK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from pathlib import Path
from tests.tiny_policy import fixed_inputs, loss_and_gradient, make_trainer
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
trainer = make_trainer(Path(sys.argv[2]) / f"rank{rank}", per_device_train_batch_size=4)
assert trainer.accelerator.num_processes == world == 2
rows = slice(4 * rank, 4 * rank + 4)
inputs = {name: value[rows] for name, value in fixed_inputs().items()}
loss, gradient = loss_and_gradient(trainer, inputs)
torch.distributed.all_reduce(loss)
torch.distributed.all_reduce(gradient)
if rank == 0:
    torch.save((loss / world, gradient / world, trainer._metrics["train"]["p3o/ess"]), sys.argv[3])
torch.distributed.destroy_process_group()
"""


def test_two_ranks_give_the_loss_and_gradient_of_one(tmp_path):
    root, out = str(Path(__file__).parents[2]), tmp_path / "out.pt"
    (tmp_path / "rank.py").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launch, tmp_path / "rank.py", root, tmp_path, out], check=True, timeout=300)
    loss, gradient, ess = torch.load(out)
    trainer = make_trainer(tmp_path / "one")
    expected, wanted = loss_and_gradient(trainer, fixed_inputs())
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-6)
    assert ess == pytest.approx(trainer._metrics["train"]["p3o/ess"])


def test_a_grpo_config_is_refused(tmp_path):
    from trl import GRPOConfig

    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    with pytest.raises(TypeError, match="takes a P3OConfig, and was given GRPOConfig"):
        P3OTrainer(
            make_policy(),
            reward_funcs=count_a,
            args=config,
            train_dataset=make_prompts(),
            processing_class=make_tokenizer(),
        )


@pytest.mark.slow
def test_loss_falls_and_reward_rises(tmp_path):
    sizes = {"per_device_train_batch_size": 16, "num_generations": 8}
    trainer = make_trainer(tmp_path, max_steps=80, learning_rate=5e-3, num_iterations=2, **sizes)
    trainer.train()
    reward, loss = logged(trainer, "reward"), logged(trainer, "loss")[:80]
    assert sum(reward[-5:]) / 5 > sum(reward[:5]) / 5 + 1
    # Each batch has other advantages, but the loss is lower once the better completions have become likelier.
    assert sum(loss[:10]) / 10 > sum(loss[-60:]) / 60 + 0.1


@pytest.mark.parametrize("sizes", [(8, 1), (4, 2)])
def test_tokens_of_probability_0_are_left_out_and_counted(tmp_path, sizes):
    def rollouts(prompts, trainer):
        output = scripted(prompts, trainer)
        output["logprobs"][0][0] = -float("inf")
        return output

    batch, accumulation = sizes
    settings = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "max_steps": 1}
    trainer = make_trainer(tmp_path, rollout_func=rollouts, **settings)
    trainer.train()
    assert logged(trainer, "p3o/nonfinite") == [1.0]
    assert logged(trainer, "p3o/ess")[0] > 0.1  # without the token; with it, 1 over the number of tokens


@pytest.mark.parametrize("scope", ["batch", "micro"])
def test_the_loss_is_the_mean_over_the_tokens_that_are_left(tmp_path, monkeypatch, scope):
    def rollouts(prompts, trainer):
        output = scripted(prompts, trainer)
        for row in output["logprobs"][::3]:
            row[0] = -float("inf")
        return output

    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 1}
    trainer = make_trainer(tmp_path, rollout_func=rollouts, ess_scope=scope, **sizes)
    ahead, compare, counted = trainer._look_ahead, trainer._compare, []
    expected = []

    def look_ahead(*arguments):
        result = ahead(*arguments)
        expected.append(result.n_tokens)
        counted.clear()
        return result

    def compared(*arguments):
        result = compare(*arguments)
        counted.append(float(result[0].sum()))
        return result

    monkeypatch.setattr(trainer, "_look_ahead", look_ahead)
    monkeypatch.setattr(trainer, "_compare", compared)
    trainer.train()
    assert logged(trainer, "p3o/nonfinite")[0] > 1
    assert len(counted) == 2
    assert expected == [sum(counted)]


def test_micro_batches_with_a_sample_size_of_their_own_need_no_look_ahead(tmp_path, monkeypatch):
    passes = {}
    for scope in ("batch", "micro"):
        sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "max_steps": 2}
        trainer = make_trainer(tmp_path, rollout_func=scripted, ess_scope=scope, **sizes)
        forward, count = trainer._forward, []
        monkeypatch.setattr(trainer, "_forward", lambda *a, c=count, f=forward, **k: c.append(1) or f(*a, **k))
        trainer.train()
        passes[scope] = len(count)
        log = [logged(trainer, name) for name in ("p3o/ess", "p3o/ess_micro")]
        assert all(whole < micro for whole, micro in zip(*log, strict=True))
    assert passes == {"batch": 16, "micro": 8}


def test_one_micro_batch_is_the_whole_batch_in_either_scope(tmp_path):
    trained = []
    for scope in ("batch", "micro"):
        trainer = make_trainer(tmp_path / scope, rollout_func=scripted, ess_scope=scope, num_iterations=2)
        trainer.train()
        assert logged(trainer, "p3o/ess") == logged(trainer, "p3o/ess_micro")
        trained.append(weights(trainer))
    assert torch.equal(*trained)


def test_the_regularizer_s_form_reaches_the_loss(tmp_path):
    losses = []
    for estimator in ("k3", "weighted"):
        trainer = make_trainer(tmp_path / estimator, kl_estimator=estimator)
        inputs = fixed_inputs()
        losses.append(float(loss_and_gradient(trainer, inputs)[0]))
        logprobs = completion_logprobs(trainer, inputs)
        arguments = logprobs, inputs["old_per_token_logps"], inputs["advantages"], inputs["completion_mask"]
        assert losses[-1] == pytest.approx(float(p3o_loss(*arguments, kl_estimator=estimator)[0].detach()), rel=1e-4)
    assert losses[0] != losses[1]


def test_without_a_sampler_s_log_probabilities_the_two_anchors_are_one(tmp_path):
    trained = []
    for trainer_class in (P3OTrainer, P4OTrainer):
        trainer = make_trainer(tmp_path, trainer_class=trainer_class, num_iterations=2)
        trainer.train()
        trained.append(weights(trainer))
    assert torch.allclose(*trained, atol=1e-6)
    assert logged(trainer, "p3o/ess_proximal") == logged(trainer, "p3o/ess")


def test_the_proximal_policy_is_the_one_before_the_updates_on_the_rollouts(tmp_path):
    options = {"rollout_func": scripted, "num_iterations": 2, "per_device_train_batch_size": 16, "max_steps": 4}
    trainer = make_trainer(tmp_path, trainer_class=P4OTrainer, **options)
    trainer.train()
    proximal = logged(trainer, "p3o/ess_proximal")
    assert proximal[::2] == pytest.approx([1, 1], abs=1e-6)
    assert max(proximal[1::2]) < 0.9999
    assert max(logged(trainer, "p3o/ess")) < 0.99
