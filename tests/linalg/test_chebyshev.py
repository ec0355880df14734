"""The Chebyshev filter against LAPACK in float64, on spectra that are easy, hard or hopeless for it."""

import numpy as np
import pytest
import torch

from coupling.linalg import chebyshev
from coupling.linalg.chebyshev import block_width, is_worthwhile, leading_triplets
from coupling.linalg.svd import top_singular_triplets

D = 400
K = 10
INDEX = np.arange(D)
EXPECTED_TO_CONVERGE = {
    "decaying": 0.8**INDEX,
    "steep": 0.3**INDEX,
    "slow": 1 / (1 + INDEX),
    "wide range": 10.0 ** -np.linspace(0, 8, D),
    "two levels": np.r_[np.linspace(10, 5, 10), np.linspace(1, 0.9, D - 10)],
    "cluster": np.r_[np.full(12, 2.0), np.full(D - 12, 1.0)],
    "pairs": np.repeat(np.linspace(1, 0.3, D // 2), 2),
    "rank 40": np.r_[np.linspace(2, 1, 40), np.zeros(D - 40)],
    "one towering value": np.r_[1e3, np.linspace(1, 0.5, D - 1)],
    "one value a million times the rest": np.r_[1e6, np.linspace(1, 0.5, D - 1)],
    "huge": 1e30 * 0.8**INDEX,
    "tiny": 1e-30 * 0.8**INDEX,
}
HOPELESS = {
    "flat": np.linspace(1, 0.99, D),
    "all equal": np.ones(D),
    "a cluster wider than the block": np.r_[np.full(40, 2.0), np.full(D - 40, 1.0)],
    "rank 3": np.r_[3.0, 2.0, 1.0, np.zeros(D - 3)],
    "rank 1": np.r_[1.0, np.zeros(D - 1)],
    "several towering values": np.r_[1e4, 5e3, 3e3, 100, 90, np.linspace(1, 0.8, D - 5)],
    "zero": np.zeros(D),
}


def matrix_of(values, m=D, n=D, seed=0):
    """A float32 matrix with nearly these singular values."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(size, D, generator=generator, dtype=torch.float64))[0] for size in (m, n))
    return ((u * torch.from_numpy(values)) @ v.T).float()


@pytest.fixture(autouse=True)
def always_worthwhile(monkeypatch):
    monkeypatch.setattr("coupling.linalg.svd.is_worthwhile", lambda shape, k: True)


@pytest.mark.parametrize("shape", [(D, D), (D + 60, D), (D, D + 60)])
@pytest.mark.parametrize("spectrum", EXPECTED_TO_CONVERGE | HOPELESS)
def test_the_dense_engine_is_exact_whether_or_not_the_filter_converges(spectrum, shape):
    matrix = matrix_of((EXPECTED_TO_CONVERGE | HOPELESS)[spectrum], *shape)
    result = top_singular_triplets(matrix, K, engine="dense")
    exact = torch.linalg.svdvals(matrix.double())
    scale = float(exact[0])
    rounding = max(shape) ** 0.5 * torch.finfo(torch.float32).eps * scale
    assert (result.values - exact[:K]).abs().max() <= rounding
    nearest = (result.values[:, None] - exact).abs().amin(1)
    assert (nearest <= result.error).all()
    assert result.error.max() <= 2.5 * rounding
    for frame in (result.left, result.right):
        assert torch.allclose(frame.T @ frame, torch.eye(K, dtype=torch.float64), atol=1e-8)
    forth = torch.linalg.vector_norm(matrix.double() @ result.right - result.left * result.values, dim=0)
    back = torch.linalg.vector_norm(matrix.double().T @ result.left - result.right * result.values, dim=0)
    assert max(forth.max(), back.max()) <= rounding
    assert result.converged


@pytest.mark.parametrize("spectrum", EXPECTED_TO_CONVERGE)
def test_values_are_exact_relative_to_themselves(spectrum):
    """Also beside a value that is a million times as large, the others are found to five digits."""
    matrix = matrix_of(EXPECTED_TO_CONVERGE[spectrum]).double()
    found = leading_triplets(matrix, K)
    assert found is not None
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix)[:K], rtol=3e-5, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_vectors_are_those_of_lapack_on_the_spectrum_of_random_weights(seed):
    matrix = torch.randn(D, D, generator=torch.Generator().manual_seed(seed)).double()
    found = leading_triplets(matrix, 3)
    assert found is not None
    u, s, vh = torch.linalg.svd(matrix)
    assert torch.allclose(found.values, s[:3], rtol=1e-9)
    gap = float((s[:3] - s[1:4]).min() / s[0])
    for ours, exact in ((found.left, u[:, :3]), (found.right, vh[:3].T)):
        assert ((ours * exact).sum(0).abs() >= 1 - (1e-5 / gap) ** 2).all()


@pytest.mark.parametrize("spectrum", HOPELESS)
def test_what_does_not_converge_is_not_returned(spectrum):
    found = leading_triplets(matrix_of(HOPELESS[spectrum]).double(), K)
    if found is not None:
        assert found.residuals.max() <= D**0.5 * torch.finfo(torch.float32).eps * found.values[0]


def test_no_result_without_its_residual_test(monkeypatch):
    """A filter that does nothing finds nothing."""
    monkeypatch.setattr(chebyshev._Filter, "_apply", lambda *_: True)
    assert leading_triplets(torch.randn(D, D, dtype=torch.float64), K) is None


@pytest.mark.parametrize("spectrum", ["slow", "one towering value", "one value a million times the rest"])
def test_residuals_that_are_wrong_in_float32_do_not_keep_it_from_ending(monkeypatch, spectrum):
    """How wrong they are depends on the processor; here they are wrong by more than their goal."""
    original = chebyshev._Filter._rayleigh_ritz

    def with_noise(self):
        right, values, residuals = original(self)
        return right, values, [one + 1.5 * self.goal * value for one, value in zip(residuals, values, strict=True)]

    monkeypatch.setattr(chebyshev._Filter, "_rayleigh_ritz", with_noise)
    matrix = matrix_of(EXPECTED_TO_CONVERGE[spectrum]).double()
    found = leading_triplets(matrix, K)
    assert found is not None
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix)[:K], rtol=3e-5, atol=0)


def test_a_spectrum_without_gaps_is_given_up_soon(monkeypatch):
    passes = []
    original = chebyshev._Filter._rayleigh_ritz
    monkeypatch.setattr(chebyshev._Filter, "_rayleigh_ritz", lambda self: passes.append(1) or original(self))
    assert leading_triplets(torch.eye(D, dtype=torch.float64) + 1e-3 * torch.randn(D, D), K) is None
    assert len(passes) <= 3


def test_the_same_matrix_gives_the_same_numbers():
    matrix = matrix_of(EXPECTED_TO_CONVERGE["slow"]).double()
    first, second = leading_triplets(matrix, K), leading_triplets(matrix, K)
    assert torch.equal(first.right, second.right)


def test_narrow_matrices_are_left_to_lapack():
    assert is_worthwhile((576, 576), 10)
    assert not is_worthwhile((128, 128), 10)
    assert not is_worthwhile((768, 768), 60)
    assert block_width(10) == 32
