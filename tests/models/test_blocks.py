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
    with pytest.raises(coupling.CouplingError, match=r"cannot tell which modules of Twins .*; none of its lists"):
        coupling.measure(Twins(), make_ids(), k=2)
    with pytest.raises(coupling.CouplingError, match=f"the input of block 1 is not the output of block 0.*{none}"):
        coupling.measure(Twins(), make_ids(), k=2, block_list="left")
    with pytest.raises(coupling.CouplingError, match=f"are not called in a forward pass.*{none}"):
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
    assert "name one of its lists with `block_list='low'`: low (2 x Block), high (2 x Block)" in str(found.value)
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


def test_advice_that_cannot_help_is_not_given():
    """Each list is tried before it is named: XLM adds to its stream outside of both of its lists."""
    import transformers

    model = transformers.XLMModel(transformers.XLMConfig(vocab_size=97, emb_dim=32, n_layers=2, n_heads=4)).eval()
    with pytest.raises(coupling.CouplingError, match=r"XLMModel .*; none of its lists .* cannot be measured$"):
        coupling.measure(model, make_ids(), k=2)


def test_lists_are_tried_with_the_inputs_that_were_given():
    """Made-up tokens would not do for a model of sounds, whose lists of convolutions are no blocks."""
    import transformers

    config = transformers.DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=[2, 2], upsampling_ratios=[2, 2],
        codebook_size=8, n_codebooks=2, codebook_dim=2,
    )  # fmt: skip
    model = transformers.DacModel(config).eval()
    with pytest.raises(coupling.CouplingError, match=r"DacModel are .*; none of its lists .* cannot be measured$"):
        coupling.record(model, {"input_values": torch.zeros(1, 1, 64)})


def test_the_lists_of_an_encoder_decoder_model_are_its_own():
    import transformers

    config = transformers.BartConfig(
        vocab_size=97, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48,
    )  # fmt: skip
    with pytest.raises(coupling.CouplingError, match=r"`block_list='encoder.layers'`: .*, decoder.layers \(2 x Bart"):
        coupling.measure(transformers.BartModel(config), make_ids(), k=2)


def test_blocks_in_a_sequence_are_found():
    """MGP-STR has its blocks in an nn.Sequential, and no list."""
    import transformers

    torch.manual_seed(0)
    config = transformers.MgpstrConfig(
        image_size=[32, 32], patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_character_labels=10, num_bpe_labels=10, num_wordpiece_labels=10,
    )  # fmt: skip
    model = transformers.MgpstrForSceneTextRecognition(config).eval()
    run = coupling.measure(model, {"pixel_values": torch.rand(1, 3, 32, 32)}, k=2)
    assert run.sizes["block"] == 3


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"input_ids": make_ids()}, "several parallel copies of the residual stream; only"),
        ({"pixel_values": torch.zeros(1, 3, 8, 8)}, "a grid of patches or pixels; only"),
    ],
)
def test_a_stream_with_four_axes_is_called_what_it_is(inputs, words):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            return x + self.second(self.first(x))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([Block(), Block()])

        def forward(self, input_ids=None, pixel_values=None):
            return self.layers[1](self.layers[0](torch.ones(1, 3, 2, 4)))

    with pytest.raises(coupling.CouplingError, match=words):
        coupling.record(Model(), inputs)
