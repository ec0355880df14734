"""BlockJacobian against a float64 full-sequence autograd Jacobian, on every architecture."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import coupling
from coupling.linalg import leading
from coupling.linalg.jacobian import DenseJacobian, End
from coupling.linalg.svd import top_singular_triplets
from tests.helpers import ENCODERS, OWN_ATTENTION, TOKENS, block_list, make_ids, make_model, reference_jacobian


@pytest.mark.parametrize(("source", "target"), [(TOKENS - 1, TOKENS - 1), (0, 0), (4, 4), (2, 8)])
def test_jacobian_matches_float64_autograd(architecture, source, target):
    model, ids = make_model(architecture), make_ids()
    recording = coupling.record(model, {"input_ids": ids})
    replay = "recorded-state" if architecture in OWN_ATTENTION else "token-local"
    assert [recording.replays(block)[0] for block in range(3)] == [replay] * 3
    assert recording.token_local
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


class Watching(TorchDispatchMode):
    """Counts the operations that make the host wait for a device, or move data between them."""

    def __init__(self):
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.waits += function._overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        return function(*arguments, **(keywords or {}))


def test_no_synchronization_is_in_the_inner_loop(monkeypatch):
    """Forming the matrix waits for nothing; the filter, which accelerators use, waits once per pass."""
    monkeypatch.setattr(leading, "Lanczos", leading.Filter)
    jacobian = coupling.record(make_model("llama"), {"input_ids": make_ids()}).jacobian(1, 5)
    with Watching() as watching:
        matrix = DenseJacobian(jacobian.to_dense())
    assert watching.waits == 0
    counts = []
    for width in (400, 800):
        matrix = DenseJacobian(torch.diag(0.8 ** torch.arange(width)))
        with Watching() as watching:
            top_singular_triplets(matrix, 10, engine="dense")
        counts.append(watching.waits)
    assert counts[0] == counts[1] < 200  # however wide the matrix is


def test_the_float64_copy_is_made_once_where_it_is_kept():
    matrix = DenseJacobian(torch.randn(4, 3))
    with matrix.keeping_wide():
        assert matrix.wide is matrix.wide
    assert matrix.wide is not matrix.wide
    assert torch.equal(matrix.matmat(torch.eye(3)), matrix.matrix.double())


@pytest.mark.parametrize("rows", [1, 3])
def test_an_end_is_its_matrix(rows):
    weight, diagonal = torch.randn(4, 6), torch.randn(6)
    end = End(torch.zeros(1, rows, 6), weight, diagonal[None], [rows - 1])
    expected = torch.zeros(4, 1, rows, 6)
    expected[:, 0, -1] = weight @ torch.diag(diagonal)
    assert torch.allclose(end.matrix(), expected, atol=1e-6)
    u = torch.randn(5, 4)
    assert torch.allclose(end.pull(u[:, None]), torch.tensordot(u, expected, 1), atol=1e-5)


def test_a_jacobian_keeps_no_product_of_its_last_weights():
    """Hundreds of megabytes per block of a large model: they are made when the matrix is, and given back."""
    model = make_model("llama")
    jacobian = coupling.record(model, {"input_ids": make_ids()}).jacobian(1, 5)
    own = block_list(model)[1].mlp.down_proj.weight
    assert {end.weight.data_ptr() for end in jacobian._ends} == {own.data_ptr()}
