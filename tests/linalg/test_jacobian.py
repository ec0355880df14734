"""BlockJacobian against a float64 full-sequence autograd Jacobian, on every architecture."""

import numpy as np
import pytest
import torch

import coupling
from tests.helpers import ENCODERS, FULL_SEQUENCE, TOKENS, block_list, make_ids, make_model, reference_jacobian


@pytest.mark.parametrize(("source", "target"), [(TOKENS - 1, TOKENS - 1), (0, 0), (4, 4), (2, 8)])
def test_jacobian_matches_float64_autograd(architecture, source, target):
    model, ids = make_model(architecture), make_ids()
    recording = coupling.record(model, {"input_ids": ids})
    assert recording.token_local == (architecture not in FULL_SEQUENCE)
    for block in range(3):
        expected = reference_jacobian(model, ids, block, source, target)
        dense = recording.jacobian(block, source, target).to_dense().double()
        assert torch.linalg.norm(dense - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_products_are_those_of_the_matrix(architecture):
    model, ids = make_model(architecture), make_ids(1)
    jacobian = coupling.record(model, {"input_ids": ids}).jacobian(1, 3, 5)
    dense = jacobian.to_dense().double()
    v, u = torch.randn(2, 32, 5, dtype=torch.float64)
    scale = torch.linalg.norm(dense) * 20
    assert torch.linalg.norm(jacobian.matmat(v) - dense @ v) < 1e-5 * scale
    assert torch.linalg.norm(jacobian.rmatmat(u) - dense.T @ u) < 1e-5 * scale
    operator = jacobian.to_scipy()
    assert np.allclose(operator.matvec(v[:, 0].numpy()), (dense @ v)[:, 0], atol=1e-5 * scale)
    assert np.allclose(operator.rmatvec(u[:, 0].numpy()), (dense.T @ u)[:, 0], atol=1e-5 * scale)
    assert np.allclose(operator.matmat(v.numpy()), dense @ v, atol=1e-5 * scale)
    # the adjoint identity <u, J v> = <J^T u, v>, without the dense matrix
    assert torch.allclose((u.T @ jacobian.matmat(v).double()), jacobian.rmatmat(u).double().T @ v, atol=1e-5 * scale)


def test_a_small_chunk_gives_the_same_matrix():
    jacobian = coupling.record(make_model("llama"), {"input_ids": make_ids()}).jacobian(0, 5)
    whole = jacobian.to_dense()
    jacobian.chunk = 5
    assert torch.allclose(jacobian.to_dense(), whole, atol=1e-6)


def test_a_causal_model_has_no_derivative_by_a_later_token(architecture):
    later = coupling.record(make_model(architecture), {"input_ids": make_ids()}).jacobian(1, 8, 3).to_dense()
    assert bool(torch.any(later != 0)) == (architecture in ENCODERS)


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


def test_half_precision_is_close():
    model, ids = make_model("llama"), make_ids()
    exact = coupling.record(model, {"input_ids": ids}).jacobian(1, 5).to_dense()
    half = coupling.record(model.to(torch.bfloat16), {"input_ids": ids}).jacobian(1, 5)
    assert half.dtype == torch.bfloat16
    assert torch.linalg.norm(half.to_dense().float() - exact) < 0.1 * torch.linalg.norm(exact)


def test_a_block_that_mixes_tokens_behind_the_interface_takes_the_full_sequence(monkeypatch):
    """A token shift outside attention: the replay on one token shows a wrong value, so it is not used."""
    model, ids = make_model("llama"), make_ids()
    mlp = block_list(model)[1].mlp
    original = type(mlp).forward
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, 0.5 * (x + x.roll(1, dims=1))))
    recording = coupling.record(model, {"input_ids": ids})
    dense = recording.jacobian(1, 6).to_dense()
    full = recording._jacobian(1, 6, 6, local=False).to_dense()
    assert torch.equal(dense, full)


def test_a_random_block_is_refused(monkeypatch):
    model = make_model("gpt2")
    mlp = block_list(model)[0].mlp
    original = type(mlp).forward
    monkeypatch.setattr(mlp, "forward", lambda x: original(mlp, x) + torch.randn_like(x))
    with pytest.raises(coupling.CouplingError, match="it is random"):
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
