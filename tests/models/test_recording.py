"""One forward pass recorded and replayed: what is refused, what is left as it was, which path is taken."""

import pytest
import torch

import coupling
from tests.helpers import TOKENS, block_list, make_ids, make_model, reference_jacobian


def test_what_the_tables_do_not_hold_is_refused():
    for ids in (torch.tensor([[3, 97]]), make_ids(0, 65)):
        with pytest.raises(coupling.CouplingError, match="beyond the model's embedding table"):
            coupling.measure(make_model("gpt2"), ids, k=2)


@pytest.mark.parametrize("place", [(3, 0, None), (-1, 0, None), (0, TOKENS, None), (0, 0, -1)])
def test_a_jacobian_that_is_not_there_is_refused(place):
    recording = coupling.record(make_model("gpt2"), {"input_ids": make_ids()})
    with pytest.raises(coupling.CouplingError, match="out of range"):
        recording.jacobian(*place)


def test_overflowing_activations_name_their_block():
    model = make_model("gpt2")
    model.h[2].mlp.c_proj.weight.data.fill_(3e38)
    with pytest.raises(coupling.CouplingError, match=r"block 2 is not finite .*overflow float32; .*float64"):
        coupling.measure(model, make_ids(), k=2)


@pytest.mark.parametrize("name", ["llama", "mixtral", "gemma2", "gpt_oss"])
def test_float64_stays_token_local(name):
    """Softmax in float32 inside the models' own attention is no reason to leave the fast way."""
    run = coupling.measure(make_model(name).double(), make_ids(), k=4)
    assert run.attrs["linearization"] == "token-local"


def test_the_model_is_left_as_it_was(architecture):
    model, ids = make_model(architecture).train(), make_ids()
    model.config._attn_implementation  # noqa: B018
    before = (model.config._attn_implementation, model.config._experts_implementation)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    coupling.record(model, {"input_ids": ids}).jacobian(0, 4).to_dense()
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))
    assert (model.config._attn_implementation, model.config._experts_implementation) == before
    assert all(module.training for module in model.modules())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in block_list(model))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_language_model_is_measured_through_its_trunk():
    import transformers

    from tests.helpers import GROUPED

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED))
    model.lm_head.register_forward_hook(lambda *_: pytest.fail("the language-model head was computed"))
    assert coupling.record(model, {"input_ids": make_ids()}).trajectory.shape == (4, TOKENS, 32)


def test_a_block_that_mixes_tokens_behind_the_interface_takes_the_full_sequence(monkeypatch):
    """A token shift outside attention: the replay on one token shows a wrong value, so it is not used."""
    model, ids = make_model("llama"), make_ids()
    mlp = block_list(model)[1].mlp
    original = type(mlp).forward
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, 0.5 * (x + x.roll(-1, dims=1))))
    recording = coupling.record(model, {"input_ids": ids})
    assert [recording.replays(block)[0] for block in range(3)] == ["token-local", "full-sequence", "token-local"]
    dense = recording.jacobian(1, 6).to_dense()
    full = recording._jacobian(1, 6, 6, "full-sequence").to_dense()
    assert torch.equal(dense, full)


def test_a_random_block_is_refused(monkeypatch):
    model = make_model("gpt2")
    mlp = block_list(model)[0].mlp
    original = type(mlp).forward
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, x) + torch.randn_like(x))
    with pytest.raises(coupling.CouplingError, match="draws random numbers, so that two passes differ"):
        coupling.record(model, {"input_ids": make_ids()}).jacobian(0, 6)


def test_a_block_that_writes_into_its_input_is_measured(monkeypatch):
    """Addition in place, as some models' code does it to save memory."""
    model, ids = make_model("gpt2"), make_ids()
    block = block_list(model)[1]
    expected = reference_jacobian(model, ids, 1, 6, 6)
    original = type(block).forward

    def forward(hidden_states, *args, **kwargs):
        output = original(block, hidden_states.clone(), *args, **kwargs)
        hidden_states += 100
        return output

    monkeypatch.setattr(block, "forward", forward)
    recording = coupling.record(model, {"input_ids": ids})
    dense = recording.jacobian(1, 6).to_dense().double()
    assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)
