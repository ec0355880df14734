"""P3O on TRL's asynchronous trainer, on the CPU: a worker in this process, and attention without TRL's CUDA kernel."""

import copy
import queue
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trl.experimental.async_grpo import async_grpo_trainer, packing
from trl.experimental.async_grpo.async_grpo_trainer import DataCollatorForRollout
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample

from coupling.rl import AsyncP3OConfig, AsyncP3OTrainer, p3o_loss
from tests.tiny_policy import count_a, logged, make_policy, make_prompts, make_tokenizer

LAG, GROUP = 2, 4


def attention(query, key, value, ends_q, ends_k, *_, softmax_scale, causal, **__):
    """What the kernel computes: each segment's queries attend to its path of keys, aligned at the end."""
    assert causal
    output = torch.empty_like(query)
    heads = query.shape[1] // key.shape[1]
    for i in range(len(ends_q) - 1):
        q, k, v = query[ends_q[i] : ends_q[i + 1]], key[ends_k[i] : ends_k[i + 1]], value[ends_k[i] : ends_k[i + 1]]
        k, v = (part.repeat_interleave(heads, dim=1) for part in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * softmax_scale
        later = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q)).logical_not()
        weights = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
        output[ends_q[i] : ends_q[i + 1]] = torch.einsum("hqk,khd->qhd", weights, v)
    return output


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    """TRL's trainer asks CUDA for the device's speed, and attends with a kernel for Hopper."""
    monkeypatch.setattr(async_grpo_trainer, "get_peak_flops_per_device", lambda *_: None)
    monkeypatch.setattr(packing, "_flash_attn", lambda: SimpleNamespace(flash_attn_varlen_func=attention))


class Worker(queue.Queue):
    """A rollout worker and its own queue: it samples a group when the trainer waits, with weights ``LAG`` syncs old."""

    def __init__(self):
        super().__init__()
        self.rollout_buffer, self.metrics_queue = self, queue.Queue()
        self.model, self.states, self.version, self.groups = make_policy().eval(), deque(maxlen=LAG + 1), 0, 0

    # the worker
    def start(self):
        self.started = True

    def stop(self):
        self.started = False

    def update_model_version(self, model_version):
        self.version = model_version

    def check_health(self, stale_after_s):
        raise AssertionError("the trainer waits for a rollout")

    # the transfer of weights
    def init_weight_transfer(self): ...

    def pause(self): ...

    def resume(self): ...

    def destroy(self): ...

    def send_weights(self, iterator):
        self.states.append({name: weight.detach().clone() for name, weight in iterator})

    # the queue
    def get(self, timeout=None):
        if not self.qsize():
            self.sample()
        return super().get(timeout=timeout)

    @torch.no_grad()
    def sample(self):
        self.model.load_state_dict(self.states[0], strict=False)
        prompt = torch.tensor([[2 + self.groups % 8, 2 + self.groups // 8 % 8]] * GROUP)
        scores = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=True,
            top_k=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        ids = scores.sequences
        tokens = ids[:, 2:]
        logprobs = torch.stack(scores.logits, dim=1).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        rewards = (tokens == 2).sum(dim=1).float()
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        for row in range(GROUP):
            self.put(make_sample(ids[row].tolist(), logprobs[row].tolist(), float(advantages[row]), self.groups, self))
        self.groups += 1


def make_sample(ids, logprobs, advantage, group, worker=None):
    prompt = len(ids) - len(logprobs)
    version = 0 if worker is None else worker.version - (len(worker.states) - 1)
    return RolloutSample(
        prompt=[],
        completion=[],
        input_ids=np.array(ids),
        completion_mask=np.array([0] * prompt + [1] * len(logprobs)),
        old_log_probs=np.array([0.0] * prompt + logprobs, dtype=np.float32),
        advantage=advantage,
        model_version=version,
        group_id=group,
        metrics={"reward": advantage},
    )


def make_trainer(folder, policy=None, **options):
    (policy or make_policy()).save_pretrained(folder / "model")
    worker = Worker()
    settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "max_steps": 4}
    settings |= {"learning_rate": 1e-2, "token_budget": 0, "report_to": "none", "save_strategy": "no"}
    settings |= {"use_cpu": True, "bf16": False, "disable_tqdm": True, "gradient_checkpointing": False}
    trainer = AsyncP3OTrainer(
        str(folder / "model"),
        reward_funcs=count_a,
        args=AsyncP3OConfig(output_dir=str(folder / "out"), num_generations=GROUP, **settings | options),
        train_dataset=make_prompts(),
        processing_class=make_tokenizer(),
        rollout_worker=worker,
        weight_transfer=worker,
    )
    return trainer, worker


def test_training_with_rollouts_two_updates_old(tmp_path):
    torch.manual_seed(0)
    trainer, worker = make_trainer(tmp_path)
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.train()
    assert worker.started is False
    ess, micro = logged(trainer, "p3o/ess"), logged(trainer, "p3o/ess_micro")
    assert len(ess) == len(micro) == 4
    assert ess[0] == pytest.approx(1, abs=1e-4)  # nothing has been updated yet
    assert max(ess[1:]) < 0.999
    assert logged(trainer, "sample/staleness_max")[-1] == LAG
    assert logged(trainer, "p3o/kl_behavior")[-1] > 0
    moved = [name for name, weight in trainer.model.state_dict().items() if not torch.equal(weight, before[name])]
    assert moved


@pytest.mark.parametrize("estimator", ["k3", "weighted"])
def test_the_loss_of_a_packed_micro_batch_is_that_of_its_rollouts(estimator, tmp_path):
    trainer, _ = make_trainer(tmp_path, kl_estimator=estimator)
    generator = np.random.default_rng(0)
    row = packing.TreeRow()
    samples = []
    for index in range(6):
        ids = [2, 3, *generator.integers(2, 10, 3 + index % 3).tolist()]
        logprobs = (-2 + 0.5 * generator.standard_normal(len(ids) - 2)).tolist()
        samples.append(make_sample(ids, logprobs, float(generator.standard_normal()), index // 3))
        row.add(
            {name: getattr(samples[-1], name) for name in ("input_ids", "completion_mask", "old_log_probs")}
            | {"advantage": samples[-1].advantage, "group_id": index // 3, "metrics": {}}
        )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, DataCollatorForRollout(0).torch_call([[row]]))
    loss.backward()
    gradient = torch.cat([weight.grad.reshape(-1) for weight in trainer.model.parameters()])

    model = make_policy()  # the same weights, with transformers' own attention, and one rollout at a time
    parts = []
    for sample in samples:
        ids = torch.tensor(sample.input_ids)[None]
        own = model(ids).logits[0, 1:-1].log_softmax(-1).gather(-1, ids[0, 2:, None])[:, 0]
        parts.append((own, torch.tensor(sample.old_log_probs[2:]), torch.full_like(own, sample.advantage)))
    logprobs, old, advantages = (torch.cat(column)[None] for column in zip(*parts, strict=True))
    expected, metrics = p3o_loss(logprobs, old, advantages, torch.ones_like(old), kl_estimator=estimator)
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    wanted = torch.cat([weight.grad.reshape(-1) for weight in model.parameters()])
    assert torch.allclose(gradient, wanted, atol=1e-5)
    assert trainer._step_metrics.finish()["p3o/ess"] == pytest.approx(metrics["ess"], rel=1e-4)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"`epsilon=0\.3` cannot be used with P3O"):
        AsyncP3OConfig(output_dir=str(tmp_path), epsilon=0.3, use_cpu=True, bf16=False)
    with pytest.raises(ValueError, match="`kl_estimator` is 'k2'"):
        AsyncP3OConfig(output_dir=str(tmp_path), kl_estimator="k2", use_cpu=True, bf16=False)
    with pytest.raises(TypeError, match="takes an AsyncP3OConfig, and was given NoneType"):
        AsyncP3OTrainer("model")
    with pytest.raises(ValueError, match="have dropout, and the server samples without it"):
        make_trainer(tmp_path, make_policy(attention_dropout=0.1))


def test_a_server_with_raw_log_probabilities_is_refused(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    information = {"model_config": {"logprobs_mode": "raw_logprobs"}}
    trainer.vllm_client = SimpleNamespace(wait_for_server_ready=lambda: None, get_server_info=lambda: information)
    with pytest.raises(ValueError, match="gives raw_logprobs instead of processed_logprobs"):
        trainer._check_server()
