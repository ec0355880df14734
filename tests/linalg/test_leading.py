"""The iterations for leading triplets against LAPACK in float64, on spectra that are easy, hard or hopeless."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from coupling.linalg.chebyshev import Filter
from coupling.linalg.lanczos import Lanczos
from coupling.linalg.leading import is_worthwhile, leading_triplets
from coupling.linalg.svd import top_singular_triplets

ITERATIONS = pytest.mark.parametrize("iteration", [Filter, Lanczos])

D = 400
K = 10


def spectra(d):
    """Singular values that an iteration is expected to find."""
    index = np.arange(d)
    return {
        "decaying": 0.8**index,
        "steep": 0.3**index,
        "slow": 1 / (1 + index),
        "wide range": 10.0 ** -np.linspace(0, 8, d),
        "two levels": np.r_[np.linspace(10, 5, 10), np.linspace(1, 0.9, d - 10)],
        "cluster": np.r_[np.full(12, 2.0), np.full(d - 12, 1.0)],
        "pairs": np.repeat(np.linspace(1, 0.3, d // 2), 2),
        "rank 40": np.r_[np.linspace(2, 1, 40), np.zeros(d - 40)],
        "one towering value": np.r_[1e3, np.linspace(1, 0.5, d - 1)],
        "one value a million times the rest": np.r_[1e6, np.linspace(1, 0.5, d - 1)],
        "huge": 1e30 * 0.8**index,
        "tiny": 1e-30 * 0.8**index,
    }


EXPECTED_TO_CONVERGE = spectra(D)
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
    u, v = (
        torch.linalg.qr(torch.randn(size, len(values), generator=generator, dtype=torch.float64))[0] for size in (m, n)
    )
    return ((u * torch.from_numpy(values)) @ v.T).float()


def wide_enough(spectrum, iteration):
    """Where there are no gaps, the basis of ``Lanczos`` needs some 250 to 300 vectors, too many for 400 dimensions."""
    d = 640 if iteration is Lanczos else D
    return matrix_of(spectra(d)[spectrum], d, d).double()


@pytest.fixture(autouse=True)
def always_worthwhile(monkeypatch):
    monkeypatch.setattr("coupling.linalg.svd.is_worthwhile", lambda shape, k: True)


@ITERATIONS
@pytest.mark.parametrize("shape", [(D, D), (D + 60, D), (D, D + 60)])
@pytest.mark.parametrize("spectrum", EXPECTED_TO_CONVERGE | HOPELESS)
def test_the_dense_engine_is_exact_whether_or_not_the_iteration_converges(monkeypatch, spectrum, shape, iteration):
    monkeypatch.setattr(
        "coupling.linalg.svd.leading_triplets", lambda matrix, k: leading_triplets(matrix, k, iteration=iteration)
    )
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


@ITERATIONS
@pytest.mark.parametrize("spectrum", EXPECTED_TO_CONVERGE)
def test_values_are_exact_relative_to_themselves(spectrum, iteration):
    """Also beside a value that is a million times as large, the others are found to five digits."""
    matrix = wide_enough(spectrum, iteration)
    found = leading_triplets(matrix, K, iteration=iteration)
    assert found is not None
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix)[:K], rtol=3e-5, atol=0)


@ITERATIONS
@pytest.mark.parametrize("seed", range(3))
def test_vectors_are_those_of_lapack_on_the_spectrum_of_random_weights(seed, iteration):
    matrix = torch.randn(D, D, generator=torch.Generator().manual_seed(seed)).double()
    found = leading_triplets(matrix, 3, iteration=iteration)
    assert found is not None
    u, s, vh = torch.linalg.svd(matrix)
    assert torch.allclose(found.values, s[:3], rtol=1e-9)
    gap = float((s[:3] - s[1:4]).min() / s[0])
    for ours, exact in ((found.left, u[:, :3]), (found.right, vh[:3].T)):
        assert ((ours * exact).sum(0).abs() >= 1 - (1e-5 / gap) ** 2).all()


@ITERATIONS
@pytest.mark.parametrize("spectrum", HOPELESS)
def test_what_does_not_converge_is_not_returned(spectrum, iteration):
    found = leading_triplets(matrix_of(HOPELESS[spectrum]).double(), K, iteration=iteration)
    if found is not None:
        assert found.residuals.max() <= D**0.5 * torch.finfo(torch.float32).eps * found.values[0]


@ITERATIONS
def test_no_result_without_its_residual_test(monkeypatch, iteration):
    """An iteration that does not go on finds nothing."""
    monkeypatch.setattr(iteration, "advance", lambda *_: True)
    assert leading_triplets(torch.randn(D, D, dtype=torch.float64), K, iteration=iteration) is None


@ITERATIONS
@pytest.mark.parametrize("spectrum", ["slow", "one towering value", "one value a million times the rest"])
def test_residuals_that_are_wrong_in_float32_do_not_keep_it_from_ending(monkeypatch, spectrum, iteration):
    """How wrong they are depends on the processor; here they are wrong by more than their goal."""
    original = iteration.ritz

    def with_noise(self):
        right, values, residuals = original(self)
        return right, values, [one + 1.5 * self.goal * value for one, value in zip(residuals, values, strict=True)]

    monkeypatch.setattr(iteration, "ritz", with_noise)
    matrix = wide_enough(spectrum, iteration)
    found = leading_triplets(matrix, K, iteration=iteration)
    assert found is not None
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix)[:K], rtol=3e-5, atol=0)


@ITERATIONS
def test_a_spectrum_without_gaps_is_given_up_soon(monkeypatch, iteration):
    passes = []
    original = iteration.ritz
    monkeypatch.setattr(iteration, "ritz", lambda self: passes.append(1) or original(self))
    matrix = torch.eye(D, dtype=torch.float64) + 1e-3 * torch.randn(D, D)
    assert leading_triplets(matrix, K, iteration=iteration) is None
    assert len(passes) <= 4


@ITERATIONS
def test_the_same_matrix_gives_the_same_numbers(iteration):
    matrix = matrix_of(EXPECTED_TO_CONVERGE["slow"]).double()
    first, second = (leading_triplets(matrix, K, iteration=iteration) for _ in range(2))
    assert torch.equal(first.right, second.right)


def test_lanczos_has_less_than_half_of_the_operations_of_the_filter():
    """On a Jacobian of random weights: the identity and a random matrix."""
    matrix = torch.eye(768) + torch.randn(768, 768, generator=torch.Generator().manual_seed(0)) / 768**0.5
    counts = {}
    for iteration in (Filter, Lanczos):
        with FlopCounterMode(display=False) as counter:
            assert leading_triplets(matrix.double(), K, iteration=iteration) is not None
        counts[iteration] = counter.get_total_flops()
    assert 0 < counts[Lanczos] < 0.5 * counts[Filter]


def test_narrow_matrices_are_left_to_lapack():
    assert is_worthwhile((576, 576), 10)
    assert not is_worthwhile((128, 128), 10)
    assert not is_worthwhile((768, 768), 60)
