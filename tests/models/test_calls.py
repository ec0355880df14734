"""A call of a block is kept as the model made it: what is cut to some tokens, and what is left alone."""

import inspect

import pytest
import torch
import transformers
from torch import nn

import coupling
from coupling.models.calls import parameters_of
from tests.helpers import GROUPED, make_ids, reference_jacobian


class Block(nn.Module):
    """A residual block of one hidden layer; subclasses differ in how they are called and in what they return."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def update(self, x):
        return self.second(torch.tanh(self.first(x)))


class Model(nn.Module):
    """Three blocks of a class, called by a function."""

    def __init__(self, block, call):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.layers = nn.Embedding(97, 8), nn.ModuleList([block() for _ in range(3)])
        self.call = call

    def forward(self, input_ids):
        return self.call(self.layers, self.embedding(input_ids))


class Named(Block):
    def forward(self, *, x):
        return {"hidden_states": x + self.update(x), "other": None}


class Nothing(Block):
    def forward(self, x):
        return None


class Parted(Block):
    def forward(self, hidden, residual=None):
        residual = hidden if residual is None else hidden + residual
        return self.update(residual), residual


class Beside(Block):
    """What the first block returns beside the stream is an argument of all others (value residuals)."""

    def forward(self, x, first=None):
        first = self.first(x) if first is None else first
        return x + self.update(x) * first, first


def named(layers, x):
    for layer in layers:
        x = layer(x=x)["hidden_states"]
    return x


def nothing(layers, x):
    return [layer(x) for layer in layers]


def pairs(layers, x):
    other = None
    for layer in layers:
        x, other = layer(x, other)
    return x


def by_hand(function, x):
    return torch.autograd.functional.jacobian(lambda x: function(x) - x, x.detach())


def test_the_stream_may_be_in_a_mapping():
    model = Model(Named, named)
    recording = coupling.record(model, {"input_ids": make_ids()})
    x = recording.trajectory[1, 4]
    expected = by_hand(lambda x: model.layers[1](x=x[None])["hidden_states"][0], x)
    assert torch.allclose(recording.jacobian(1, 4).to_dense(), expected, atol=1e-6)


def test_a_block_that_returns_no_tensor_is_refused():
    with pytest.raises(coupling.CouplingError, match="Nothing returns NoneType and no tensor"):
        coupling.record(Model(Nothing, nothing), {"input_ids": make_ids()})


def test_a_stream_in_two_parts_is_refused():
    with pytest.raises(coupling.CouplingError, match=r"Parted is given the residual stream in two parts"):
        coupling.record(Model(Parted, pairs), {"input_ids": make_ids()})


def test_what_an_earlier_block_returned_beside_the_stream_is_frozen():
    model = Model(Beside, pairs)
    recording = coupling.record(model, {"input_ids": make_ids()})
    first = model.layers[0].first(recording.trajectory[0, 4])
    expected = by_hand(lambda x: model.layers[2](x[None], first[None])[0][0], recording.trajectory[2, 4])
    assert torch.allclose(recording.jacobian(2, 4).to_dense(), expected, atol=1e-6)


def test_keys_of_an_earlier_block_are_frozen_and_not_overwritten():
    """Gemma 4 writes keys and values into a container that is given to the blocks after it."""
    torch.manual_seed(0)
    config = transformers.Gemma4TextConfig(
        **GROUPED | {"num_hidden_layers": 3}, num_kv_shared_layers=1, sliding_window=5, global_head_dim=8,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        hidden_size_per_layer_input=8, vocab_size_per_layer_input=97,
    )  # fmt: skip
    model, ids = transformers.Gemma4TextModel(config).eval(), make_ids()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    recording = coupling.record(model, {"input_ids": ids})
    assert [recording.replays(block)[0] for block in range(3)] == ["token-local"] * 3
    for block in (1, 2, 1):
        for token in (10, 4):
            expected = reference_jacobian(model, ids, block, token, token)
            for replay in recording.replays(block):
                dense = recording._jacobian(block, token, token, replay).to_dense().double()
                assert torch.linalg.norm(dense - expected) <= 2e-5 * torch.linalg.norm(expected), (block, token, replay)


@pytest.mark.parametrize("encoder_tokens", [11, 7, 1])
def test_cross_attention_is_replayed_on_one_token(encoder_tokens):
    """The encoder's output is not cut, not even where both halves have as many tokens."""
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=97, d_model=32, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.BartModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    inputs = {"input_ids": make_ids(1, encoder_tokens), "decoder_input_ids": make_ids()}
    recording = coupling.record(model, inputs, block_list="decoder.layers")
    seen = []
    double = transformers.BartModel(config).eval().double()
    double.load_state_dict(model.state_dict())
    double.set_attn_implementation("eager")
    hook = double.decoder.layers[1].register_forward_pre_hook(lambda _, a, k: seen.append((a, k)), with_kwargs=True)
    with torch.no_grad():
        double(**inputs, use_cache=False)
    hook.remove()
    (stream, *others), keywords = seen[0]
    for token in (10, 4):

        def update(x, token=token):
            moved = stream.clone()
            moved[0, token] = x
            output = double.decoder.layers[1](moved, *others, **keywords)
            return (output[0] if isinstance(output, tuple) else output)[0, token] - x

        expected = torch.autograd.functional.jacobian(update, stream[0, token].clone())
        jacobian = recording.jacobian(1, token)
        assert jacobian.token_local or encoder_tokens == 1
        assert torch.linalg.norm(jacobian.to_dense().double() - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("first", ["encoder.layers", "decoder.layers"])
def test_two_lists_of_one_model_are_checked_each(first):
    """What was found out of one half says nothing of the other: here, that the encoder looks at later tokens."""
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=97, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.BartModel(config).eval()
    inputs = {"input_ids": make_ids(1), "decoder_input_ids": make_ids()}
    one, other = (coupling.record(model, inputs, block_list=f"{part}.layers") for part in ("encoder", "decoder"))
    assert one.locality is not other.locality
    for recording in (one, other):
        assert recording.locality.verified == {0: 11, 1: 11}


def test_keys_that_stay_behind_those_that_move():
    """T5Gemma 2 has the keys of the encoder behind its own in one attention."""
    torch.manual_seed(0)
    part = GROUPED | {"num_hidden_layers": 2, "sliding_window": 5, "query_pre_attn_scalar": 8}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
              "image_size": 16, "patch_size": 8}  # fmt: skip
    config = transformers.T5Gemma2Config(
        encoder={"text_config": part, "vision_config": vision, "mm_tokens_per_image": 1},
        decoder=part,
    )
    model = transformers.T5Gemma2Model(config).eval()
    inputs = {"input_ids": make_ids(1, 7), "decoder_input_ids": make_ids()}
    recording = coupling.record(model, inputs, block_list="decoder.layers")
    assert [recording.replays(block)[0] for block in range(2)] == ["token-local"] * 2
    for token in (10, 4):
        whole = recording._jacobian(1, token, token, "full-sequence").to_dense()
        dense = recording.jacobian(1, token).to_dense()
        assert torch.linalg.norm(dense - whole) <= 1e-5 * torch.linalg.norm(whole)


class Wrapped(Block):
    """Its method takes whatever it is given, as a decorator that does not say what it wraps."""

    def forward(*args, **kwargs):
        return args[0].update(*args[1:], **kwargs)


class Keyed(Block):
    @staticmethod
    def forward(x, mask=None):
        return x


def test_the_names_of_arguments_are_those_of_the_signature():
    hooked = Block()
    hooked.forward = lambda stream, position: stream  # as hooks replace it
    for block in (Wrapped(), Keyed(), hooked, nn.Linear(2, 2), nn.MultiheadAttention(4, 2)):
        assert parameters_of(block) == tuple(inspect.signature(block.forward).parameters)
