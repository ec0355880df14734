"""Residual blocks are found, or named, or refused."""

import copy

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

    none = "; it has no other list of modules that could be, so it cannot be measured"
    with pytest.raises(coupling.CouplingError, match=f"cannot tell which modules of Twins .* blocks{none}"):
        coupling.measure(Twins(), make_ids(), k=2)
    with pytest.raises(coupling.CouplingError, match=f"the input of block 1 is not the output of block 0.*{none}"):
        coupling.measure(Twins(), make_ids(), k=2, block_list="left")
    with pytest.raises(coupling.CouplingError, match=f"called 0 times.*{none}"):
        coupling.measure(Twins(), make_ids(), k=2, block_list="right")


def test_a_refusal_names_only_lists_that_could_be_residual_blocks():
    """Lists of embeddings, norms or linear layers are no advice; two lists of blocks are."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            return x + self.second(self.first(x))

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(4), torch.nn.LayerNorm(4)])
            self.low = torch.nn.ModuleList([Block(), Block()])
            self.high = torch.nn.ModuleList([Block(), Block()])

        def forward(self, input_ids):
            x = torch.ones(1, input_ids.shape[1], 4)
            return self.low[1](self.low[0](x)) + self.high[1](self.high[0](x))

    with pytest.raises(coupling.CouplingError) as found:
        coupling.measure(Pair(), make_ids(), k=2)
    assert "as in `block_list='low'`: low (2 x Block), high (2 x Block)" in str(found.value)
    with pytest.raises(coupling.CouplingError, match=r"`block_list='low'`: low \(2 x Block\), high"):
        coupling.measure(Pair(), make_ids(), k=2, block_list="norms")
    assert coupling.measure(Pair(), make_ids(), k=2, block_list="high").sizes["block"] == 2


def test_a_stream_without_a_batch_axis():
    """Packed image encoders (Qwen-VL) call their blocks with (tokens, width)."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)

        def forward(self, x):
            mixed = x.softmax(0).sum(0)  # every token sees every other
            return x + self.second(torch.tanh(self.first(x + mixed)))

    class Packed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embeddings = torch.nn.Embedding(50, 4)
            self.layers = torch.nn.ModuleList([Block() for _ in range(3)])

        def forward(self, input_ids):
            x = self.embeddings(input_ids[0])
            for layer in self.layers:
                x = layer(x)
            return x

    model, ids = Packed(), {"input_ids": make_ids() % 50}
    recording = coupling.record(model, ids)
    n = ids["input_ids"].shape[1]
    assert recording.trajectory.shape == (4, n, 4)
    stream = recording.trajectory[1].double()
    block = copy.deepcopy(model.layers[1]).double()
    whole = torch.autograd.functional.jacobian(lambda x: block(x) - x, stream)
    torch.testing.assert_close(
        recording.jacobian(1, n - 1).to_dense().double(), whole[n - 1, :, n - 1], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights_name_their_block(value):
    model = make_model("gpt2")
    model.h[1].mlp.c_fc.weight.data[0, 0] = value
    with pytest.raises(coupling.CouplingError, match=r"weights of block 1 .*mlp\.c_fc\.weight"):
        coupling.measure(model, make_ids(), k=2)
