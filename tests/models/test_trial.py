"""A list of modules is tried with made-up inputs before it is recommended."""

import pytest
import torch
import transformers

from coupling.models.trial import can_be_measured, made_up_inputs
from tests.helpers import GROUPED, block_list, make_model


@pytest.mark.parametrize("name", ["llama", "bert", "bloom"])
def test_blocks_can_be_measured(name):
    model = make_model(name)
    assert can_be_measured(model, block_list(model))


def test_other_modules_cannot():
    model = make_model("llama")
    assert not can_be_measured(model, [block.mlp for block in block_list(model)])
    assert not can_be_measured(model, [block.self_attn for block in block_list(model)])


def test_what_cannot_be_run_is_not_ruled_out(monkeypatch):
    model = make_model("llama")
    for error in (RuntimeError, TypeError):

        def forward(self, input_ids, error=error, **_):
            raise error("no such input")

        monkeypatch.setattr(type(model), "forward", forward)
        assert can_be_measured(model, block_list(model))


def test_the_inputs_are_of_the_models_kind():
    text = made_up_inputs(make_model("llama"))
    assert text["input_ids"].shape == (1, 4)
    image = transformers.ViTModel(
        transformers.ViTConfig(image_size=16, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    )
    assert made_up_inputs(image)["pixel_values"].shape == (1, 3, 16, 16)
    both = transformers.T5Model(
        transformers.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    )
    assert set(made_up_inputs(both)) == {"input_ids", "decoder_input_ids"}


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = transformers.LlamaModel(transformers.LlamaConfig(**GROUPED)).train()
    can_be_measured(model, block_list(model))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
