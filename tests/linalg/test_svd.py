"""Top singular triplets against SciPy, on dense and LinearOperator input, both engines."""

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.sparse.linalg import aslinearoperator, svds

import coupling
from coupling.linalg.svd import choose_engine, top_singular_triplets
from tests.helpers import make_ids, make_model

ENGINES = ("dense", "matrix-free")


def with_spectrum(values, m=120, n=90, seed=0):
    generator = np.random.default_rng(seed)
    u = scipy.linalg.qr(generator.standard_normal((m, m)))[0][:, : len(values)]
    v = scipy.linalg.qr(generator.standard_normal((n, n)))[0][:, : len(values)]
    return (u * np.asarray(values)) @ v.T


SPECTRA = {
    "decaying": 0.8 ** np.arange(90),
    "flat": np.linspace(1, 0.9, 90),
    "slow": 1 / (1 + np.arange(90)),
    "wide range": 10.0 ** -np.linspace(0, 8, 90),
    "low rank": np.r_[3.0, 2.0, 1.0, np.zeros(87)],
    "repeated": np.r_[np.full(4, 2.0), np.full(86, 1.0)],
    "huge": 1e12 * 0.8 ** np.arange(90),
    "tiny": 1e-12 * 0.8 ** np.arange(90),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("form", ["tensor", "array", "operator"])
@pytest.mark.parametrize("transposed", [False, True])
def test_matches_scipy(engine, spectrum, form, transposed):
    matrix = with_spectrum(SPECTRA[spectrum])
    matrix = matrix.T.copy() if transposed else matrix
    given = {"tensor": torch.from_numpy(matrix), "array": matrix, "operator": aslinearoperator(matrix)}[form]
    k = 6
    result = top_singular_triplets(given, k, engine=engine, tol=1e-6)
    exact = scipy.linalg.svdvals(matrix)
    assert np.allclose(result.values, exact[:k], rtol=1e-6, atol=1e-9 * exact[0])
    # each value lies within its bound of a true one, and the bound is worth something
    nearest = np.abs(result.values.numpy()[:, None] - exact).min(axis=1)
    assert (nearest <= result.error.numpy()).all()
    assert (result.error.numpy() <= 1e-5 * exact[0]).all()
    for frame in (result.left, result.right):
        assert torch.allclose(frame.T @ frame, torch.eye(k, dtype=torch.float64), atol=1e-8)
    assert np.allclose(matrix @ result.right.numpy(), result.left.numpy() * result.values.numpy(), atol=1e-5 * exact[0])
    assert result.converged
    assert result.engine == engine


@pytest.mark.parametrize("engine", ENGINES)
def test_vectors_are_those_of_svds(engine):
    matrix = with_spectrum(SPECTRA["decaying"])
    result = top_singular_triplets(matrix, 5, engine=engine, tol=1e-8)
    u, s, vh = svds(matrix, k=5)
    order = np.argsort(-s)
    assert np.allclose(np.abs((u[:, order] * result.left.numpy()).sum(0)), 1, atol=1e-9)
    assert np.allclose(np.abs((vh[order].T * result.right.numpy()).sum(0)), 1, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_block_jacobian_in_single_precision(engine):
    jacobian = coupling.record(make_model("llama"), {"input_ids": make_ids()}).jacobian(1, 6)
    result = top_singular_triplets(jacobian, 5, engine=engine)
    exact = scipy.linalg.svdvals(jacobian.to_dense().double().numpy())
    assert (np.abs(result.values.numpy() - exact[:5]) <= result.error.numpy()).all()
    assert np.allclose(svds(jacobian.to_scipy(), k=5, return_singular_vectors=False)[::-1], exact[:5], rtol=1e-5)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_a_float32_matrix_is_factored_to_its_own_rounding(spectrum):
    """Whichever precision the eigenvectors were first sought in, the residuals are below the matrix's rounding."""
    matrix = with_spectrum(SPECTRA[spectrum]).astype(np.float32)
    result = top_singular_triplets(matrix, 6, engine="dense")
    exact = scipy.linalg.svdvals(matrix.astype(np.float64))
    rounding = np.sqrt(120) * np.finfo(np.float32).eps * exact[0]
    assert np.abs(result.values.numpy() - exact[:6]).max() <= rounding
    assert result.error.numpy().max() <= 2.5 * rounding


@pytest.mark.parametrize("engine", ENGINES)
def test_the_zero_matrix(engine):
    result = top_singular_triplets(np.zeros((40, 30)), 3, engine=engine)
    assert result.values.abs().max() == 0
    assert torch.allclose(result.right.T @ result.right, torch.eye(3, dtype=torch.float64), atol=1e-8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", [1, 7, 8])
def test_as_many_as_there_are(engine, k):
    matrix = np.random.default_rng(0).standard_normal((8, 9))
    result = top_singular_triplets(matrix, k, engine=engine)
    assert np.allclose(result.values, scipy.linalg.svdvals(matrix)[:k], rtol=1e-9)


def test_restarts_keep_converging():
    """A flat spectrum wider than the kept basis: the iteration restarts, and still meets the tolerance."""
    generator = np.random.default_rng(1)
    matrix = generator.standard_normal((700, 700)) / 26
    result = top_singular_triplets(matrix, 2, engine="matrix-free", oversampling=3, tol=1e-6, max_power_iterations=300)
    assert result.power_iterations > 16
    assert result.converged
    assert np.allclose(result.values, scipy.linalg.svdvals(matrix)[:2], rtol=1e-9)


def test_too_few_iterations_are_admitted():
    matrix = np.random.default_rng(1).standard_normal((300, 300))
    result = top_singular_triplets(matrix, 5, engine="matrix-free", tol=1e-8, max_power_iterations=1)
    assert not result.converged
    exact = scipy.linalg.svdvals(matrix)
    nearest = np.abs(result.values.numpy()[:, None] - exact).min(axis=1)
    assert (nearest <= result.error.numpy()).all()
    assert result.error.max() > 1e-3


def test_same_seed_same_numbers():
    matrix = with_spectrum(SPECTRA["slow"])
    a, b, other = (top_singular_triplets(matrix, 4, engine="matrix-free", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.left, b.left)
    assert torch.equal(a.right, b.right)
    assert not torch.equal(a.right, other.right)


def test_auto_counts_operations():
    assert choose_engine((768, 768), 10, extra_columns=304) == "dense"
    assert choose_engine((4096, 4096), 10, extra_columns=704) == "matrix-free"
    assert choose_engine((4096, 4096), 50, extra_columns=3264) == "dense"


@pytest.mark.parametrize("k", [0, -1, 31])
def test_a_wrong_k_is_refused(k):
    with pytest.raises(coupling.CouplingError, match=f"k is {k}"):
        top_singular_triplets(np.zeros((40, 30)), k)


@pytest.mark.parametrize("engine", ENGINES)
def test_not_finite_is_refused(engine):
    matrix = with_spectrum(SPECTRA["slow"])
    matrix[3, 4] = np.nan
    with pytest.raises(coupling.CouplingError, match="NaN"):
        top_singular_triplets(matrix, 3, engine=engine)


def test_an_unknown_engine_is_refused():
    with pytest.raises(coupling.CouplingError, match="'arpack'"):
        top_singular_triplets(np.eye(5), 2, engine="arpack")
