"""P3O with a fake vLLM beneath TRL's own VLLMGeneration: ratios are relative to the engine's log-probabilities."""

import math
from types import SimpleNamespace

import pytest
import torch
from trl.generation import vllm_generation

from tests.tiny_policy import logged, make_policy, make_trainer, weights

TEMPERATURE = 0.7


def engine_tokens(number):
    """Completion ``number``, and the log-probabilities that the engine reports; None for a token without a score."""
    length = 2 + number % 4
    logprobs: list[float | None] = [-1.2 - 0.3 * ((number + index) % 4) for index in range(length)]
    if number % 3 == 0:
        logprobs[1] = None
    return [2 + (number * index + index) % 8 for index in range(length)], logprobs


class Engine:
    """A fake engine that keeps the prompts that it was asked to complete and the weights that it was given."""

    def __init__(self):
        self.asked, self.weights, self.syncs, self.mode = [], {}, 0, "processed_logprobs"

    def take(self, named):
        self.weights |= {name: weight.detach().clone() for name, weight in named}

    def client(self, **_):
        def generate(prompts, n, temperature, **_):
            assert temperature == TEMPERATURE
            rows = [ids for ids in prompts for _ in range(n)]
            self.asked += rows
            tokens = [engine_tokens(number) for number in range(len(rows))]
            return {
                "prompt_ids": prompts,
                "completion_ids": [ids for ids, _ in tokens],
                "logprobs": [[[value] for value in logprobs] for _, logprobs in tokens],
            }

        return SimpleNamespace(
            init_communicator=lambda **_: None,
            generate=generate,
            reset_prefix_cache=self.synced,
            update_named_params=lambda metadata, named: self.take(named),
            get_server_info=lambda: {"model_config": {"logprobs_mode": self.mode} if self.mode else {}},
        )

    def model(self, logprobs_mode, **_):
        assert logprobs_mode == "processed_logprobs"  # TRL's own choice if it starts the engine

        def generate(prompts, sampling_params, **_):
            assert sampling_params.temperature == TEMPERATURE
            self.asked += [prompt["prompt_token_ids"] for prompt in prompts]
            return [self.output(number, prompt) for number, prompt in enumerate(prompts)]

        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self.take))
        worker = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
        return SimpleNamespace(
            llm_engine=SimpleNamespace(model_executor=worker), generate=generate, reset_prefix_cache=self.synced
        )

    def output(self, number, prompt):
        ids, logprobs = engine_tokens(number)
        scored = [
            {token: SimpleNamespace(rank=1, logprob=math.nan if value is None else value)}
            for token, value in zip(ids, logprobs, strict=True)
        ]
        outputs = [SimpleNamespace(token_ids=ids, logprobs=scored)]
        return SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=outputs)

    def synced(self):
        self.syncs += 1


@pytest.fixture
def engine(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):  # TRL sets them for vLLM
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    engine = Engine()
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda *_: True)
    monkeypatch.setattr(vllm_generation, "VLLMClient", engine.client)
    monkeypatch.setattr(vllm_generation, "LLM", engine.model, raising=False)
    monkeypatch.setattr(vllm_generation, "SamplingParams", SimpleNamespace, raising=False)
    return engine


def expected_size(prompts):
    """(sum r)^2 / (n sum r^2) by hand, where r = 1 for the tokens that the engine could not score."""
    model, ratios = make_policy().eval(), []
    for number, prompt in enumerate(prompts):
        ids, reported = engine_tokens(number)
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1] / TEMPERATURE
        own = torch.log_softmax(logits, dim=-1)[range(len(ids)), ids].tolist()
        pairs = zip(own, reported, strict=True)
        ratios += [1.0 if engine is None else math.exp(policy - engine) for policy, engine in pairs]
    return sum(ratios) ** 2 / (len(ratios) * sum(ratio**2 for ratio in ratios))


@pytest.mark.parametrize("mode", ["server", "colocate"])
@pytest.mark.parametrize("sizes", [{}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}])
def test_ratios_are_relative_to_the_engine_s_log_probabilities(engine, mode, sizes, tmp_path):
    trainer = make_trainer(tmp_path, use_vllm=True, vllm_mode=mode, temperature=TEMPERATURE, max_steps=2, **sizes)
    before = weights(trainer)
    trainer.train()
    first = engine.asked[: len(engine.asked) // 2]
    if mode == "server":
        assert len(first) == 8
    assert logged(trainer, "p3o/ess")[0] == pytest.approx(expected_size(first), rel=1e-4)
    assert expected_size(first) < 0.9
    assert engine.syncs == 2  # before each generation
    synced = torch.cat([engine.weights[name].reshape(-1) for name, _ in trainer.model.named_parameters()])
    assert not torch.equal(synced, before)  # those of the second generation
    assert not torch.equal(weights(trainer), synced)


@pytest.mark.parametrize("mode", ["raw_logprobs", None])
def test_a_server_whose_log_probabilities_are_not_processed_is_refused(engine, mode, tmp_path):
    engine.mode = mode
    with pytest.raises(
        ValueError, match=r"the vLLM server gives .* restart it with --logprobs-mode processed_logprobs"
    ):
        make_trainer(tmp_path, use_vllm=True, vllm_mode="server", temperature=TEMPERATURE)
