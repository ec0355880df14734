"""The block Lanczos iteration; what it has in common with other iterations is in test_leading.py."""

import pytest
import torch

from coupling.linalg.iteration import UNSURE
from coupling.linalg.lanczos import Lanczos, block_columns

D, K = 320, 4
SPECTRA = {
    "decaying": 0.8 ** torch.arange(D, dtype=torch.float64),
    "random": torch.linalg.svdvals(torch.randn(D, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)),
    "two values": torch.cat([torch.full((12,), 2.0), torch.ones(D - 12)]).double(),
    "rank 20": torch.cat([torch.linspace(2, 1, 20), torch.zeros(D - 20)]).double(),
}


def matrix_of(values):
    generator = torch.Generator().manual_seed(0)
    u, v = torch.linalg.qr(torch.randn(2, D, D, generator=generator, dtype=torch.float64))[0]
    return (u * values) @ v.mT


def test_a_block_is_as_wide_as_what_is_wanted():
    assert [block_columns(k) for k in (1, 10, 11, 26, 27)] == [16, 16, 32, 32, 48]


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_basis_is_orthonormal_and_the_gram_matrix_is_that_on_it(spectrum):
    """Also where the matrix has fewer directions than the basis, so that others take their place."""
    matrix = matrix_of(SPECTRA[spectrum])
    iteration = Lanczos(matrix, K)
    assert iteration._extend(3)
    assert iteration.size == 9 * 16
    basis = torch.cat([iteration.basis[: iteration.size], iteration.next]).double()
    assert (basis @ basis.mT - torch.eye(len(basis))).abs().max() <= 1e-5
    known = basis[: iteration.size]
    images = known @ matrix.mT
    gram, found = images @ images.mT, iteration.projected[: iteration.size, : iteration.size]
    assert (gram - found).abs().max() <= 1e-5 * gram.abs().max()


def test_the_residuals_are_those_of_the_vectors():
    """Known without a product: compared with float64 ones while the iteration is far from its goal."""
    matrix = matrix_of(SPECTRA["random"])
    iteration = Lanczos(matrix, K)
    right, values, residuals = iteration.ritz()
    assert right.shape == (D, K + 6)
    images = matrix @ right.double()
    left = images / torch.linalg.vector_norm(images, dim=0)
    exact = torch.linalg.vector_norm(matrix.mT @ left - right.double() * torch.tensor(values), dim=0)
    assert torch.allclose(torch.tensor(residuals, dtype=torch.float64), exact, rtol=1e-2, atol=1e-4)
    assert max(residuals) > 100 * iteration.goal * values[0]


def test_the_basis_grows_until_it_has_no_room():
    iteration = Lanczos(matrix_of(torch.linspace(1, 0.999, D, dtype=torch.float64)), K)
    right, values, _ = iteration.ritz()
    sizes = [iteration.size]
    while iteration.advance(right, values, 1e4, K):
        sizes.append(iteration.size)
    assert sizes == [96, 192, 240]  # three quarters of 320


def test_rounding_is_taken_out_of_the_vectors_once():
    """Where float64 refuses vectors whose residuals in float32 were good, they are cleaned in float64."""
    matrix = matrix_of(SPECTRA["two values"])
    iteration = Lanczos(matrix, K)
    right, values, _ = iteration.ritz()
    rough = right + 1e-4 * torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    assert iteration.advance(rough, values, 1.0, K)
    cleaned, found, residuals = iteration.ritz()
    images = matrix @ cleaned[:, :K]
    back = torch.linalg.vector_norm(matrix.mT @ images / torch.tensor(found[:K]) - cleaned[:, :K] * 2, dim=0)
    assert back.max() <= 1e-7
    assert max(residuals[:K]) <= 1e-7
    assert not iteration.advance(cleaned, found, UNSURE, K)


def test_it_starts_again_from_vectors_in_either_precision():
    """After a deflation; the vectors are in float64 where rounding had to be taken out of them."""
    iteration = Lanczos(matrix_of(SPECTRA["decaying"]), K)
    right, values, _ = iteration.ritz()
    for vectors in (right, right.double()):
        iteration.restart()
        assert iteration.advance(vectors, values, 1.0, K)
        again, found, residuals = iteration.ritz()
        assert again.dtype == torch.float32
        assert torch.allclose(torch.tensor(found[:K]), torch.tensor([1, 0.8, 0.64, 0.512]), rtol=1e-5)
        assert max(residuals[:K]) <= iteration.goal


@pytest.mark.parametrize("seed", range(6))
def test_random_matrices_converge(seed):
    """They are refused neither just before the goal nor for want of room, and LAPACK is not called on top."""
    matrix = torch.randn(768, 768, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = Lanczos(matrix, 10).run()
    assert found is not None
    assert found.residuals.max() <= 0.5 * torch.finfo(torch.float32).eps * 768**0.5 * found.values[0]


def test_the_memory_is_that_of_the_blocks_that_can_be_made():
    iteration = Lanczos(torch.randn(100, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64), K)
    assert iteration.basis.shape == (64, 4000)  # three quarters of the rank
    assert Lanczos(torch.randn(2000, 2000, dtype=torch.float64), K).most == 48 * 16
