"""Calibrated measures: hand-worked cases, and their chance levels against draws of random frames."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from coupling import alignment, metrics
from coupling.choices import CALIBRATED

seeds = st.integers(0, 2**32 - 1)
S = np.array([4.0, 3.0, 2.0, 1.0])


def rotation(d, seed):
    return scipy.stats.ortho_group.rvs(d, random_state=np.random.default_rng(seed))


def measured(projection, values=S):
    """Aligned energy, diagonal share, signed and absolute diagonal of one projection."""
    return (
        alignment.aligned_energy(projection, values),
        alignment.diagonal_share(projection),
        alignment.signed_diagonal(projection, values),
        alignment.absolute_diagonal(projection, values),
    )


# Hand-worked cases: J_a = U S V^T, and b's frames are U and V changed


def test_identical_frames():
    assert measured(np.diag(S)) == pytest.approx((1, 1, 1, 1))


def test_sign_flips():
    """Two left vectors with the other sign: only the signed diagonal sees it, (4 - 3 - 2 + 1) / 10."""
    assert measured(np.diag([1, -1, -1, 1]) @ np.diag(S)) == pytest.approx((1, 1, 0, 1))
    assert measured(-np.diag(S)) == pytest.approx((1, 1, -1, 1))


def test_permuted_frames():
    """Both frames in another order: P is diagonal with S in that order, so nothing changes."""
    order = np.eye(4)[[1, 0, 3, 2]]
    assert measured(order @ np.diag(S) @ order.T) == pytest.approx((1, 1, 1, 1))


def test_left_frames_permuted_alone():
    """All of the energy is captured, and none of it lies on the diagonal."""
    assert measured(np.eye(4)[[1, 0, 3, 2]] @ np.diag(S)) == pytest.approx((1, 0, 0, 0))


def test_frames_rotated_inside_their_subspace():
    """Left vectors 1 and 2 turned by 45 degrees: P = [[4, 3], [-4, 3]] / sqrt(2) there, and diag(2, 1) below."""
    turned = scipy.linalg.block_diag(np.array([[1, 1], [-1, 1]]) / np.sqrt(2), np.eye(2))
    energy, share, signed, absolute = measured(turned @ np.diag(S))
    assert energy == pytest.approx(1)
    assert share == pytest.approx((8 + 4.5 + 4 + 1) / 30)
    assert signed == absolute == pytest.approx((7 / np.sqrt(2) + 3) / 10)


def test_frames_that_share_nothing():
    energy, share, signed, absolute = measured(np.zeros((4, 4)))
    assert (energy, signed, absolute) == (0, 0, 0)
    assert np.isnan(share)


def test_the_top_k_of_more():
    projection = np.array([[2.0, 1.0], [0.0, 1.0]])
    assert alignment.aligned_energy(projection, np.array([4.0, 1.0]), k=1) == pytest.approx(4 / 16)
    assert alignment.diagonal_share(projection, k=1) == 1
    assert alignment.signed_diagonal(projection, np.array([4.0, 1.0]), k=1) == pytest.approx(0.5)
    assert alignment.subspace_overlap(projection, k=1) == pytest.approx(4)


def test_overlap_by_hand():
    basis = np.eye(6)
    assert alignment.subspace_overlap(basis[:, :3].T @ basis[:, :3]) == 1
    assert alignment.subspace_overlap(basis[:, :3].T @ basis[:, [2, 0, 1]]) == 1  # permuted
    assert alignment.subspace_overlap(basis[:, :3].T @ -basis[:, :3]) == 1  # flipped
    assert alignment.subspace_overlap(basis[:, :3].T @ basis[:, 2:5]) == pytest.approx(1 / 3)
    assert alignment.subspace_overlap(basis[:, :3].T @ basis[:, 3:]) == 0


@given(seeds)
def test_a_rotation_of_either_basis_leaves_energy_and_overlap(seed):
    projection = np.random.default_rng(seed).standard_normal((4, 4))
    left, right = rotation(4, seed), rotation(4, seed + 1)
    turned = left @ projection @ right
    assert alignment.aligned_energy(turned, S) == pytest.approx(float(alignment.aligned_energy(projection, S)))
    assert alignment.subspace_overlap(turned) == pytest.approx(float(alignment.subspace_overlap(projection)))


@given(seeds)
def test_ranges(seed):
    """A captured energy, a share and an overlap are shares; no diagonal exceeds the trace of S."""
    d, k = 9, 4
    j = np.random.default_rng(seed).standard_normal((d, d))
    u, v = (rotation(d, seed + i)[:, :k] for i in range(2))
    energy, share, signed, absolute = measured(u.T @ j @ v, scipy.linalg.svdvals(j)[:k])
    for value in (energy, share, absolute, alignment.subspace_overlap(u.T @ v)):
        assert -1e-12 <= value <= 1 + 1e-12
    assert abs(signed) <= absolute + 1e-12


# Chance levels

SPECTRA = {
    "flat": lambda d: np.ones(d),
    "gaussian": lambda d: scipy.linalg.svdvals(np.random.default_rng(5).standard_normal((d, d))),
    "decaying": lambda d: 0.9 ** np.arange(d),
    "spiked": lambda d: np.r_[10.0, np.ones(d - 1)],
    "rank one": lambda d: np.r_[1.0, np.full(d - 1, 1e-6)],
}
DRAWS = 4000


def moments_of(j):
    probes = np.random.default_rng(1).standard_normal((j.shape[1], 20_000))
    stretch = np.linalg.norm(j @ (probes / np.linalg.norm(probes, axis=0)), axis=0).mean()
    s = scipy.linalg.svdvals(j)
    return metrics.JacobianMoments(float(np.linalg.norm(j)), float(stretch), j.shape, float((s**4).sum()))


@pytest.mark.parametrize("d", [24, 96])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("k", [1, 4, 10])
def test_mean_and_deviation_are_those_of_random_frames(d, spectrum, k):
    s = SPECTRA[spectrum](d)
    j = (rotation(d, 0) * s) @ rotation(d, 1)
    moments, generator = moments_of(j), np.random.default_rng(2)
    frames = [(metrics.haar_frame(d, k, generator), metrics.haar_frame(d, k, generator)) for _ in range(DRAWS)]
    projections = np.array([u.T @ j @ v for u, v in frames])
    overlaps = np.array([np.eye(d)[:k] @ u for u, _ in frames])
    energy, share, signed, absolute = measured(projections, s[:k])
    overlap = alignment.subspace_overlap(overlaps)
    drawn = {
        "aligned_energy": energy,
        "diagonal_share": share,
        "signed_diagonal": signed,
        "absolute_diagonal": absolute,
        "left_overlap": overlap,
        "right_overlap": overlap,
    }
    assert set(drawn) == {measure.name for measure in CALIBRATED}
    for name, values in drawn.items():
        null = alignment.null(name, moments, s, k)
        noise = 4 * values.std() / np.sqrt(DRAWS)
        assert abs(null.mean - values.mean()) < noise + 5e-3 * abs(values.mean()), (name, null.mean, values.mean())
        # the relative error of a standard deviation from n draws is about sqrt((kurtosis - 1) / 4 n)
        kurtosis = scipy.stats.kurtosis(values, fisher=False) if values.std() > 1e-12 else 3
        noise = 4 * np.sqrt(max(kurtosis - 1, 2) / (4 * DRAWS)) * values.std()
        assert abs(null.sd - values.std()) < noise + 1e-12 + 0.03 * values.std(), (name, null.sd, values.std())
