"""Jacobians made in one pass against those made one by one; what cannot be made so is left alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import coupling
from coupling.linalg.jacobian import PASS_MEMORY
from coupling.models.together import Place, dense_together, places_per_pass, same_calls
from tests.helpers import TOKEN_LOCAL, TOKENS, block_list, make_ids, make_model, reference_jacobian


def recordings(model, count=3, tokens=TOKENS):
    return [coupling.record(model, {"input_ids": make_ids(seed, tokens)}) for seed in range(count)]


@pytest.mark.parametrize("name", ["bert", "gemma2", "gpt2", "llama", "mixtral", "opt"])
def test_prompts_in_one_pass_have_the_jacobians_of_float64_autograd(name):
    model = make_model(name)
    last = TOKENS - 1
    places = [Place(recording, last, last) for recording in recordings(model)]
    dense = dense_together(places, 1)
    assert dense is not None
    for seed, matrix in enumerate(dense):
        expected = reference_jacobian(model, make_ids(seed), 1, last, last)
        assert torch.linalg.norm(matrix.double() - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("name", sorted(TOKEN_LOCAL))
def test_tokens_and_pairs_of_tokens_in_one_pass_are_those_alone(name):
    model = make_model(name)
    first, second = recordings(model, 2)
    for ends in ([(3, 3), (7, 7), (10, 10)], [(2, 5), (2, 9), (4, 8)]):
        places = [Place(recording, *end) for recording in (first, second) for end in ends]
        for block in range(3):
            dense = dense_together(places, block)
            assert dense is not None
            for place, matrix in zip(places, dense, strict=True):
                alone = place.recording.jacobian(block, place.token, place.output_token).to_dense()
                assert torch.linalg.norm(matrix - alone) <= 1e-5 * torch.linalg.norm(alone)


def test_a_block_of_its_own_attention_is_left_alone():
    assert dense_together([Place(one, 4, 4) for one in recordings(make_model("bloom"), 2)], 1) is None


def test_prompts_of_other_lengths_are_left_alone():
    model = make_model("llama")
    places = [Place(coupling.record(model, {"input_ids": make_ids(0, n)}), 4, 4) for n in (11, 9)]
    assert dense_together(places, 1) is None


def test_as_many_tokens_as_keys_are_left_alone():
    """Of so many keys it cannot be told whether they are those of the moving tokens."""
    (recording,) = recordings(make_model("llama"), 1)
    places = [Place(recording, token, token) for token in range(TOKENS)]
    assert dense_together(places, 1) is None
    assert dense_together(places[:-1], 1) is not None


class Mixing(nn.Module):
    """Adds to each token what depends on all tokens of the pass, but nothing to the value at hand."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden, *args, **kwargs):
        output = self.inner(hidden, *args, **kwargs)
        mean = hidden.mean(-2, keepdim=True)
        leak = (mean - mean.detach()) * (hidden.shape[-2] > 1) * (hidden.shape[-2] < TOKENS)
        return output + leak


def test_a_wrong_derivative_is_noticed_where_the_value_is_right():
    model = make_model("llama")
    layers = block_list(model)
    for index, layer in enumerate(layers):
        model.layers[index] = Mixing(layer)
    places = [Place(one, 4, 4) for one in recordings(model, 3)]
    assert places[0].recording.replays(1)[0] == "token-local"
    assert dense_together(places, 1) is None
    assert places[0].recording.locality.together[1, 1] is False


def test_calls_with_other_arguments_are_not_the_same():
    model = make_model("llama")
    one, other = recordings(model, 2)
    assert same_calls([one.calls[0], other.calls[0], one.calls[0]])
    assert not same_calls([one.calls[0], other.calls[1]])
    (shorter,) = recordings(model, 1, 7)
    assert not same_calls([one.calls[0], other.calls[0], shorter.calls[0]])
    mask = one.calls[0].keywords["attention_mask"].clone()
    mask[..., -1, 0] = -1
    masked = replace(other.calls[0], keywords=other.calls[0].keywords | {"attention_mask": mask})
    assert not same_calls([one.calls[0], other.calls[0], masked])


def test_a_pass_has_as_many_jacobians_as_its_memory_holds():
    assert places_per_pass(128, 32, 4) == PASS_MEMORY // (48 * 128 * 128 * 4)
    assert places_per_pass(128, 32, 4, rows=2) == places_per_pass(128, 32, 4) // 2
    assert places_per_pass(4096, 128, 4) == 1
    assert places_per_pass(128, 100_000, 4) < places_per_pass(128, 32, 4)
