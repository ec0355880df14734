"""Residual blocks are found, or named, or refused."""

import pytest
import torch

import coupling
from tests.helpers import make_ids, make_model


def test_encoder_decoder_models_are_refused():
    import transformers

    config = transformers.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    with pytest.raises(coupling.CouplingError, match="encoder-decoder"):
        coupling.measure(transformers.T5Model(config), make_ids(), k=2)


def test_blocks_named_as_in_the_language_model():
    import transformers

    from tests.helpers import GROUPED

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED))
    for blocks in (None, "model.layers", "layers"):
        assert coupling.measure(model, make_ids(), k=2, block_list=blocks).sizes["block"] == 3
        assert coupling.measure(model.model, make_ids(), k=2, block_list=blocks).sizes["block"] == 3


def test_blocks_that_are_none_are_refused():
    class Twins(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
            self.right = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])

        def forward(self, input_ids):
            x = torch.ones(1, input_ids.shape[1], 4)
            return self.left[0](x) + self.left[1](x)

    with pytest.raises(coupling.CouplingError, match=r"`block_list='model\.layers'`.* left \(2 x Linear\)"):
        coupling.measure(Twins(), make_ids(), k=2)
    with pytest.raises(coupling.CouplingError, match="the input of block 1 is not the output of block 0"):
        coupling.measure(Twins(), make_ids(), k=2, block_list="left")
    with pytest.raises(coupling.CouplingError, match="called 0 times"):
        coupling.measure(Twins(), make_ids(), k=2, block_list="right")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights_name_their_block(value):
    model = make_model("gpt2")
    model.h[1].mlp.c_fc.weight.data[0, 0] = value
    with pytest.raises(coupling.CouplingError, match=r"weights of block 1 .*mlp\.c_fc\.weight"):
        coupling.measure(model, make_ids(), k=2)
