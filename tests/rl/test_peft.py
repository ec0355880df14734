"""P3O with PEFT: adapters train, the base weights do not, and coupling is that of the adapted model."""

import copy

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

import coupling
from coupling.models.blocks import find_blocks
from coupling.rl import CouplingCallback
from tests.tiny_policy import logged, make_policy, make_tokenizer, make_trainer, weights

PROBES = ["a b c d", "h g f e d c"]
HALF = {"bf16": True, "gradient_checkpointing": True}


def lora_trainer(folder, **options):
    adapter = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", lora_dropout=0.2, task_type="CAUSAL_LM")
    return make_trainer(folder, peft_config=adapter, num_iterations=2, max_steps=4, **options)


@pytest.mark.parametrize("options", [{}, HALF], ids=["float32", "bfloat16"])
def test_adapters_train_and_coupling_is_that_of_the_adapted_model(options, tmp_path):
    trainer = lora_trainer(tmp_path, **options)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    callback = CouplingCallback(PROBES, every=2, k=4).attach(trainer)
    trainer.train()
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if "lora_" in name}
    assert min(logged(trainer, "p3o/ess")) < 1  # the second update on the same rollouts
    ids = [make_tokenizer()(text, return_tensors="pt")["input_ids"] for text in PROBES]
    merged = copy.deepcopy(trainer.model).merge_and_unload().eval()
    for row, model in ((callback.history[0], make_policy().eval()), (callback.history[-1], merged)):
        run = coupling.measure(model, ids, k=4)
        assert row["coupling/score_k4_p2"] == pytest.approx(coupling.score(run, 4), abs=1e-6)
    assert callback.history[0]["coupling/mismatch_to_initial"] == pytest.approx(0, abs=1e-6)
    assert callback.history[-1]["coupling/mismatch_to_initial"] > 0.01


@pytest.mark.parametrize("options", [{}, HALF], ids=["float32", "bfloat16"])
def test_training_is_bit_for_bit_the_same_with_the_callback_and_without(options, tmp_path):
    without = lora_trainer(tmp_path / "a", **options)
    without.train()
    with_it = lora_trainer(tmp_path / "b", **options)
    CouplingCallback(PROBES[:1], every=2, k=2).attach(with_it)
    with_it.train()
    assert torch.equal(weights(without), weights(with_it))
    assert logged(without, "loss") == logged(with_it, "loss")


def test_the_reference_policy_is_the_model_without_adapters(tmp_path):
    trainer = lora_trainer(tmp_path, beta=0.1)
    assert trainer.ref_model is None
    trainer.train()
    kl = logged(trainer, "kl")
    assert kl[0] == pytest.approx(0, abs=1e-6)  # fresh adapters change nothing
    assert kl[-1] > 1e-5


def test_blocks_have_the_same_names_as_without_peft():
    model = get_peft_model(make_policy(), LoraConfig(target_modules="all-linear"))
    name, blocks = find_blocks(model, "model.layers")
    assert name == find_blocks(make_policy())[0]
    assert blocks == list(model.get_base_model().model.layers)


def test_learned_prompt_tokens_are_part_of_the_trajectory():
    model = get_peft_model(make_policy(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    recording = coupling.record(model, {"input_ids": torch.tensor([[2, 3, 4, 5]])})
    assert recording.n_tokens == 3 + 4
