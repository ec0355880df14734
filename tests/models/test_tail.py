"""The last layers of a block are cut where their derivative is their weight, and only there."""

import pytest
import torch
import transformers

import coupling
from coupling.models.linear_calls import linear_layers
from coupling.models.tail import NO_TAIL
from tests.helpers import GROUPED, block_list, make_ids, make_model, reference_jacobian

LAST = {
    "gpt2": {"mlp.c_proj"},
    "llama": {"mlp.down_proj"},
    "qwen2": {"mlp.down_proj"},
    "gpt_neox": {"attention.dense", "mlp.dense_4h_to_h"},  # parallel branches
    "gpt_neox-sequential": {"mlp.dense_4h_to_h"},
    "phi": {"self_attn.dense", "mlp.fc2"},
    "gemma2": set(),  # a norm follows
    "bert": set(),
}
INNER = {"gpt2": {"mlp.c_fc"}, "llama": {"mlp.gate_proj", "mlp.up_proj"}, "phi": {"mlp.fc1"}}


def recorded(model, ids=None):
    return coupling.record(model, {"input_ids": make_ids() if ids is None else ids})


def names(block, modules):
    return {name for name, module in block.named_modules() if module in modules}


def without_tail(recording, block, *tokens):
    return recording._jacobian(block, *tokens, recording.jacobian(block, *tokens).replay, NO_TAIL).to_dense()


@pytest.mark.parametrize("name", LAST)
def test_the_layers_that_are_cut(name):
    model = make_model(name)
    recording = recorded(model)
    for index, block in enumerate(block_list(model)):
        tail = recording.locality.tails[index]
        assert names(block, tail.last) == LAST[name]
        if name in INNER:
            assert names(block, [module for group in tail.inner for module in group]) == INNER[name]


@pytest.mark.parametrize("tokens", [(10, 10), (2, 8), (4, 4)])
def test_the_matrix_and_its_products_are_those_of_the_whole_graph(architecture, tokens):
    recording = recorded(make_model(architecture))
    for block in range(3):
        expected = without_tail(recording, block, *tokens)
        jacobian = recording.jacobian(block, *tokens)
        dense = jacobian.to_dense()
        scale = torch.linalg.norm(expected)
        assert torch.linalg.norm(dense - expected) <= 1e-5 * scale
        v = torch.randn(32, 4)
        assert torch.linalg.norm(jacobian.matmat(v) - expected @ v) <= 1e-4 * scale
        assert torch.linalg.norm(jacobian.rmatmat(v) - expected.T @ v) <= 1e-4 * scale


def test_the_first_product_is_not_made(monkeypatch):
    """The floating-point operations of a dense Jacobian are those of the block without its last layer."""
    from torch.utils.flop_counter import FlopCounterMode

    recording = recorded(make_model("gpt2"))
    jacobian, plain = recording.jacobian(1, 10), recording._jacobian(1, 10, 10, "token-local")
    counts = []
    for operator in (jacobian, plain):
        with FlopCounterMode(display=False) as counter:
            operator.to_dense()
        counts.append(counter.get_total_flops())
    assert counts[1] - counts[0] == 2 * 32 * 32 * 4 * 32  # 2 d rows times the weight, d x 4 d


def granite(multiplier):
    torch.manual_seed(0)
    return transformers.GraniteModel(transformers.GraniteConfig(**GROUPED, residual_multiplier=multiplier)).eval()


def test_a_factor_after_the_last_layer_is_seen():
    assert recorded(granite(0.22)).locality.tails[0].last == ()
    assert len(recorded(granite(1.0)).locality.tails[0].last) == 1


def exact(model, recording, block):
    expected = reference_jacobian(model, make_ids(), block, 10, 10)
    dense = recording.jacobian(block, 10).to_dense().double()
    assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_a_layer_that_changes_after_it_was_checked_is_differentiated_as_it_is(monkeypatch):
    """A factor, a second path, a hook: each is seen at the next Jacobian."""
    model = make_model("llama")
    recording = recorded(model)
    mlp = block_list(model)[1].mlp
    cls, original = type(mlp), type(mlp).forward

    def another_path_into_the_last_layer(self, x):
        gated = self.act_fn(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(gated + 0.1 * x.repeat(1, 1, 2)[..., :48])

    changes = (
        lambda self, x: 0.5 * original(self, x),
        another_path_into_the_last_layer,
        lambda self, x: original(self, x) + 0.1 * self.gate_proj(x)[..., :32],
    )
    for change in changes:
        monkeypatch.setattr(cls, "forward", lambda self, x, f=change: f(self, x) if self is mlp else original(self, x))
        tails = dict(recording.locality.tails)
        assert tails[1].last
        changed = recorded(model)
        changed.locality.tails[1] = tails[1]  # as it was found before the change
        expected = without_tail(changed, 1, 10, 10)
        assert torch.linalg.norm(changed.jacobian(1, 10).to_dense() - expected) <= 1e-5 * torch.linalg.norm(expected)
        assert changed.locality.tails[1] is NO_TAIL
        recording.locality.tails[1] = tails[1]
        monkeypatch.undo()


def test_a_layer_with_a_hook_is_not_cut():
    model = make_model("llama")
    recording = recorded(model)
    layer = block_list(model)[1].mlp.down_proj
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    assert layer not in linear_layers(block_list(model)[1])
    again = recorded(model)
    expected = without_tail(again, 1, 10, 10)
    assert torch.linalg.norm(again.jacobian(1, 10).to_dense() - expected) <= 1e-5 * torch.linalg.norm(expected)
    assert recording.locality is again.locality


def test_an_adapter_that_is_switched_on_later_is_in_the_matrix():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)).eval()
    config = peft.LoraConfig(r=2, target_modules=["gate_proj", "up_proj", "down_proj"], init_lora_weights=False)
    model = peft.get_peft_model(base, config).eval()
    with model.disable_adapter():
        off = recorded(model)
        without = off.jacobian(1, 10).to_dense()
    on = recorded(model)
    assert on.locality is off.locality
    dense, expected = on.jacobian(1, 10).to_dense(), without_tail(on, 1, 10, 10)
    assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)
    assert torch.linalg.norm(dense - without) > 1e-3 * torch.linalg.norm(expected)
