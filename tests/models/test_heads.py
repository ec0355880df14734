"""The attention of a block is differentiated head by head where that is right, and only there."""

import json

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

import coupling
from coupling.models import heads as heads_module
from coupling.models.heads import find_heads
from coupling.models.locality import Locality, noted, recall
from coupling.models.together import Place, dense_together
from tests.helpers import ARCHITECTURES, OWN_ATTENTION, SMALL, block_list, make_ids, make_model, reference_jacobian

SEPARATE = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}
PROJECTIONS = {
    "gpt2": {"attn.c_attn"},
    "gpt_neox": {"attention.query_key_value"},
    "llama": SEPARATE,
    "qwen3": SEPARATE,  # a norm of each head follows
    "gemma3": SEPARATE,
    "opt": SEPARATE,
    "olmo": set(),  # a bound on their outputs follows
    "bert": {"attention.self.query", "attention.self.key", "attention.self.value"},
}


@pytest.fixture
def always(monkeypatch):
    """Also where the saving is too small."""
    monkeypatch.setattr(heads_module, "SMALLEST_SAVING", float("-inf"))


def recorded(model, ids=None):
    return coupling.record(model, {"input_ids": make_ids() if ids is None else ids})


def without_heads(recording, block, token):
    tail = recording.locality.tails[block]
    return recording._jacobian(block, token, token, "token-local", tail)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_the_projections_that_are_found(always, name):
    model = make_model(name)
    recording = recorded(model)
    for index, block in enumerate(block_list(model)):
        found = recording.locality.heads.get(index)
        layers = () if found is None else found.layers
        assert {name for name, module in block.named_modules() if module in layers} == PROJECTIONS[name]


def test_each_head_depends_on_its_own_outputs(always):
    """Four heads of eight features: queries, keys and values one after the other, or those of a head together."""
    fused = recorded(make_model("gpt2")).locality.heads[0]
    assert [of_head[0] for of_head in fused.runs] == [
        tuple((start + 8 * head, start + 8 * head + 8) for start in (0, 32, 64)) for head in range(4)
    ]
    assert fused.groups == ((0, 1, 2, 3),)
    interleaved = recorded(make_model("gpt_neox")).locality.heads[0]
    assert [of_head[0] for of_head in interleaved.runs] == [((24 * head, 24 * head + 24),) for head in range(4)]
    grouped = recorded(make_model("llama")).locality.heads[0]
    assert grouped.runs[2] == (((16, 24),), ((8, 16),), ((8, 16),))  # the third query has the second key
    assert grouped.groups == ((0, 2), (1, 3))  # heads with the same key need a pass each


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - OWN_ATTENTION.keys()))
@pytest.mark.parametrize("token", [0, 10])
def test_the_matrix_and_its_products_are_those_of_autograd(always, name, token):
    model, ids = make_model(name), make_ids()
    recording = recorded(model)
    expected = reference_jacobian(model, ids, 1, token, token)
    jacobian = recording.jacobian(1, token)
    scale = torch.linalg.norm(expected)
    assert torch.linalg.norm(jacobian.to_dense() - expected) <= 1e-5 * scale
    v = torch.randn(32, 4)
    assert torch.linalg.norm(jacobian.matmat(v) - expected @ v.double()) <= 1e-4 * scale
    assert torch.linalg.norm(jacobian.rmatmat(v) - expected.T @ v.double()) <= 1e-4 * scale
    assert recording.locality.heads.get(1) is None or jacobian._joint is not None


def test_the_products_that_are_made(always):
    """One product with do/dx and one of each head with its part of the weights, in place of one with the weights."""
    recording = recorded(make_model("gpt2"))
    counts = []
    for operator in (recording.jacobian(1, 10), without_heads(recording, 1, 10)):
        with FlopCounterMode(display=False) as counter:
            operator.to_dense()
        counts.append(counter.get_total_flops())
    by_attention = 2 * 4 * 32 * 8 * 24  # each of 32 rows times a head's matrix, 24 x 8
    with_weights, of_heads, joined = 2 * 32 * 96 * 32, 2 * 4 * 8 * 24 * 32, 2 * 32 * 32 * 32
    assert counts[1] - counts[0] == by_attention + with_weights - of_heads - joined


def test_it_is_done_where_it_saves_products():
    """GPT-2-small's width saves many; a narrow model, and one with few keys, too little."""
    for width, key_heads, expected in ((768, 12, True), (96, 12, False), (768, 1, False)):
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            **SMALL
            | {"hidden_size": width, "num_attention_heads": 12, "num_hidden_layers": 1, "head_dim": width // 12},
            num_key_value_heads=key_heads,
        )
        recording = recorded(transformers.LlamaModel(config).eval())
        assert (0 in recording.locality.heads) is expected
        if expected:
            again = without_heads(recording, 0, 10).to_dense()
            dense = recording.jacobian(0, 10).to_dense()
            assert torch.linalg.norm(dense - again) <= 1e-6 * torch.linalg.norm(again)
            assert recording.jacobian(0, 2, 10)._joint is None  # two tokens move


def test_a_quarter_of_the_operations_is_saved_for_gpt_2():
    torch.manual_seed(0)
    model = transformers.GPT2Model(transformers.GPT2Config(n_layer=1, vocab_size=97, n_positions=64)).eval()
    recording = recorded(model)
    counts = []
    for operator in (recording.jacobian(0, 10), without_heads(recording, 0, 10)):
        with FlopCounterMode(display=False) as counter:
            operator.to_dense()
        counts.append(counter.get_total_flops())
    assert 0.72 < counts[0] / counts[1] < 0.78


def agrees(jacobian, expected):
    return torch.linalg.norm(jacobian.to_dense() - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_heads_that_change_are_noticed(always):
    """Heads of another block, or of layers that have a hook by now: the token goes the plain way, with the tail cut."""
    model = make_model("llama")
    recording = recorded(model)
    right = recording.locality.heads[1]
    wrong = type(right)(right.layers, (right.runs[1], right.runs[0], *right.runs[2:]), right.groups)
    expected = without_heads(recording, 1, 10).to_dense()
    recording.locality.heads[1] = wrong
    jacobian = recording.jacobian(1, 10)
    assert jacobian._joint is None
    assert jacobian._ends
    assert agrees(jacobian, expected)
    recording.locality.heads[1] = right
    handle = right.layers[0].register_forward_hook(lambda module, args, output: 2 * output)
    changed = recorded(model)
    changed.locality.heads[1] = right  # as it was found before the change
    jacobian = changed.jacobian(1, 10)
    assert jacobian._joint is None
    assert agrees(jacobian, reference_jacobian(model, make_ids(), 1, 10, 10))
    handle.remove()


@pytest.mark.parametrize("factor", [1.0, 300.0, 1e4])
def test_queries_count_by_their_effect_and_not_by_their_size(always, factor):
    """Queries that are small beside the keys, with something between projection and attention that was not there."""
    model = make_model("llama")
    with torch.no_grad():
        for block in block_list(model):
            block.self_attn.q_proj.weight.div_(factor)
            block.self_attn.k_proj.weight.mul_(factor)
    found = recorded(model).locality.heads[1]
    block = block_list(model)[1]

    class Adapted(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer, self.adapter = layer, torch.nn.Linear(32, 32, bias=False)
            torch.nn.init.normal_(self.adapter.weight, std=0.5 / factor)

        def forward(self, x):
            return self.layer(x) + self.adapter(x)

    block.self_attn.q_proj = Adapted(block.self_attn.q_proj)
    changed = recorded(model)
    changed.locality.heads[1] = found
    jacobian = changed.jacobian(1, 10)
    assert jacobian._joint is None
    assert agrees(jacobian, reference_jacobian(model, make_ids(), 1, 10, 10))


def test_projections_that_are_changed_in_place_are_left_alone(always):
    model = make_model("llama")
    block = block_list(model)[1]

    class InPlace(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x).mul_(1e-7)

    block.self_attn.q_proj = InPlace(block.self_attn.q_proj)  # so small that no direction would show it
    recording = recorded(model)
    assert 1 not in recording.locality.heads
    assert 0 in recording.locality.heads


def test_half_precision_is_left_alone(always):
    assert recorded(make_model("gpt2").bfloat16()).locality.heads == {}


def test_which_token_is_asked_for_first_changes_nothing(always):
    """A bound on the projections that some tokens reach, and others do not."""
    model = make_model("llama")
    attention = block_list(model)[1].self_attn

    class Bounded(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            y = self.layer(x)
            return torch.where(y.abs().amax() > self.bound, y.cumsum(-1), y)

    attention.q_proj = Bounded(attention.q_proj)
    with torch.no_grad():
        sizes = sorted(float(attention.q_proj.layer(torch.randn(32)).abs().amax()) for _ in range(9))
    attention.q_proj.bound = float("inf")
    heads = recorded(model).locality.heads[1]
    attention.q_proj.bound = sizes[4]
    matrices = []
    for order in ((2, 5, 9), (9, 5, 2)):
        recording = recorded(model)
        recording.locality.heads[1] = heads
        jacobians = {token: recording.jacobian(1, token) for token in order}
        assert recording.locality.heads[1] is heads
        matrices.append([jacobians[token].to_dense() for token in (2, 5, 9)])
    for a, b in zip(*matrices, strict=True):
        assert torch.equal(a, b)


def test_a_smaller_pass_pushes_fewer_directions_at_once(always, monkeypatch):
    recording = recorded(make_model("gpt2"))
    jacobian, sizes = recording.jacobian(1, 10), []
    expected, vmap = jacobian.to_dense(), torch.func.vmap
    monkeypatch.setattr(
        torch.func, "vmap", lambda f, chunk_size=None: sizes.append(chunk_size) or vmap(f, chunk_size=chunk_size)
    )
    jacobian.chunk = 5
    assert torch.allclose(jacobian.to_dense(), expected, rtol=1e-5, atol=1e-6)
    assert sizes == [5, 5, 5]


def test_a_head_that_depends_on_all_outputs(always):
    """A norm over the queries of all heads: each head has a pass of its own, and nothing is saved."""
    torch.manual_seed(0)
    model = transformers.Olmo2Model(transformers.Olmo2Config(**SMALL)).eval()
    recording = recorded(model)
    found = recording.locality.heads[0]
    assert found.groups == ((0,), (1,), (2,), (3,))
    assert found.runs[0][0] == ((0, 32),)
    expected = reference_jacobian(model, make_ids(), 0, 10, 10)
    assert torch.linalg.norm(recording.jacobian(0, 10).to_dense() - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_nothing_is_found_without_attention():
    assert find_heads([], [], torch.zeros(8)) is None


def test_heads_are_known_again(always):
    """What a streamed run writes down of a block is read as it was found."""
    model = make_model("llama")
    recording = recorded(model)
    written = json.loads(json.dumps(noted(recording.locality, model, 1)))
    again = Locality()
    recall(written, again, model, 1)
    assert again.heads == {1: recording.locality.heads[1]}
    assert again.tails == {1: recording.locality.tails[1]}
    del written["heads"]  # as an earlier version wrote it
    recall(written, earlier := Locality(), model, 1)
    assert earlier.heads == {}


def test_alone_where_that_is_less_work(always):
    """Tokens whose attention is differentiated head by head do not share a pass; pairs of tokens do."""
    recording = recorded(make_model("gpt2"))
    assert dense_together([Place(recording, token, token) for token in (3, 4)], 1) is None
    assert dense_together([Place(recording, token, 7) for token in (3, 4)], 1) is not None
    recording.locality.heads.clear()
    assert dense_together([Place(recording, token, token) for token in (3, 4)], 1) is not None
