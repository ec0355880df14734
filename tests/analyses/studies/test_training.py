"""How small models are trained: the tokenizer, the packing, the loss against torch, and a run that diverges."""

import math

import pytest
import torch

from coupling.analyses.studies import training
from coupling.analyses.studies.corpus import Module
from coupling.errors import DivergedError

MODULES = [Module("a.py", "for name in names:\n    print(name)\n" * 20), Module("b.py", "é = 1\n")]
CONTEXT = 16


@pytest.fixture(scope="module")
def tokenizer():
    return training.train_tokenizer([module.text for module in MODULES], 300, CONTEXT)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return training.small_llama(tokenizer, layers=2, hidden=16, heads=2, feedforward=24, context=CONTEXT)


def test_packing_joins_modules_and_keeps_every_token_but_the_last(tokenizer):
    rows = training.pack(tokenizer, MODULES, CONTEXT)
    assert rows.shape[1] == CONTEXT
    text = "".join(module.text + training.END_OF_TEXT for module in MODULES)
    packed = tokenizer.decode(rows.flatten())
    assert text.startswith(packed)
    assert len(tokenizer.encode(text[len(packed) :])) < CONTEXT


def test_the_model_has_the_shape_that_was_asked_for(model, tokenizer):
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (2, 16, 24)
    assert config.vocab_size == len(tokenizer)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_held_out_loss_is_that_of_torch(model, tokenizer):
    rows = training.pack(tokenizer, MODULES, CONTEXT)
    loss, accuracy = training.held_out(model, rows, batch=2)
    with torch.no_grad():
        logits = model(input_ids=rows).logits[:, :-1]
    judge = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    assert loss == pytest.approx(judge.item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(-1) == rows[:, 1:]).float().mean().item())


def test_bits_per_byte():
    modules = [Module("m", "é" * 8)]  # 16 bytes
    assert training.text_bytes(modules) == 16
    assert training.bits_per_byte(math.log(2), torch.zeros(2, 4), modules) == pytest.approx(8 / 16)


def test_saved_weights_are_rounded_to_half_precision(model, tokenizer, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    saved = training.save_in_half_precision(model, tokenizer, tmp_path)
    for name, value in saved.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name].half().float()), name
    assert (tmp_path / "tokenizer.json").exists()


def test_a_run_that_diverges_is_stopped(model, tokenizer, tmp_path):
    rows = training.pack(tokenizer, MODULES, CONTEXT)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(DivergedError, match="the run diverged: the loss is nan at step 1"):
        training.train(
            model, rows, tmp_path, steps=2, batch=2, learning_rate=1e-3, weight_decay=0.1, seed=0, quiet=True
        )
