"""Divergence told from other failures."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from coupling.analyses.rl.config import DataConfig
from coupling.analyses.rl.data import read_rows
from coupling.analyses.rl.divergence import diverged, find_divergence
from coupling.errors import DivergedError


@pytest.fixture
def trainer(small_model):
    """What ``find_divergence`` reads of a trainer."""
    return SimpleNamespace(
        model=AutoModelForCausalLM.from_pretrained(small_model),
        processing_class=AutoTokenizer.from_pretrained(small_model),
        train_dataset=read_rows(DataConfig(task="brackets", limit=4)),
        is_fsdp_enabled=False,
        is_deepspeed_enabled=False,
    )


def scale_weights(model, factor):
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(factor)


def test_a_healthy_model_has_not_diverged(trainer):
    assert find_divergence(trainer, RuntimeError("disk")) is None


def test_a_weight_that_is_not_finite_is_named(trainer):
    trainer.model.model.norm.weight.data[3] = float("inf")
    assert find_divergence(trainer, KeyError("x")) == (
        "1 parameters contain a NaN or an infinity, among them model.norm.weight"
    )


def test_finite_weights_whose_logits_overflow(trainer):
    scale_weights(trainer.model, 1e15)
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())
    ids = trainer.processing_class("([{=", return_tensors="pt")["input_ids"]
    with pytest.raises(RuntimeError) as sampling:
        trainer.model.generate(ids, do_sample=True, max_new_tokens=1)
    assert find_divergence(trainer, sampling.value) == "its next-token probabilities are not finite"
    assert find_divergence(trainer, KeyError("x")) is None  # sampling does not raise it
    trainer.is_fsdp_enabled = True
    assert find_divergence(trainer, RuntimeError("sampling")) is None


def test_an_accelerator_that_has_failed_gives_no_answer(trainer, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(trainer.model, "forward", fails)
    assert find_divergence(trainer, RuntimeError("sampling")) is None


def test_the_message_says_what_to_try():
    error = diverged(3, "the loss is nan")
    assert isinstance(error, DivergedError)
    assert str(error) == (
        "step 3: the model diverged: the loss is nan; try a smaller trainer.learning_rate or trainer.max_grad_norm"
    )
