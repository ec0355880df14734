"""BlockJacobian against a float64 full-sequence autograd Jacobian, on every architecture."""

import numpy as np
import pytest
import torch

import coupling
from tests.helpers import ENCODERS, FULL_SEQUENCE, TOKENS, make_ids, make_model, reference_jacobian


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


def test_half_precision_is_close():
    model, ids = make_model("llama"), make_ids()
    exact = coupling.record(model, {"input_ids": ids}).jacobian(1, 5).to_dense()
    half = coupling.record(model.to(torch.bfloat16), {"input_ids": ids}).jacobian(1, 5)
    assert half.dtype == torch.bfloat16
    assert torch.linalg.norm(half.to_dense().float() - exact) < 0.1 * torch.linalg.norm(exact)
