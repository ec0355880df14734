"""The definitions: property tests, hand-worked cases, and chance against draws of random frames."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import coupling
from coupling import metrics

sizes = st.integers(4, 12)
seeds = st.integers(0, 2**32 - 1)
norms = st.sampled_from([1, 2])
flags = st.booleans()


def matrix(d, seed):
    return np.random.default_rng(seed).standard_normal((d, d))


def rotation(d, seed):
    return scipy.stats.ortho_group.rvs(d, random_state=np.random.default_rng(seed))


@given(sizes, seeds, norms, flags)
def test_a_jacobian_matches_itself(d, seed, norm, signed):
    j = matrix(d, seed)
    assert coupling.pair_mismatch(j, j, d // 2, norm=norm, signed=signed) == pytest.approx(0, abs=1e-10)


@given(sizes, seeds, norms, flags, flags)
def test_rotating_both_changes_nothing(d, seed, norm, signed, swapped):
    a, b, q = matrix(d, seed), matrix(d, seed + 1), rotation(d, seed)
    # one rotation of the residual stream, which moves outputs and inputs alike
    expected = coupling.pair_mismatch(a, b, 3, norm=norm, signed=signed, swapped=swapped)
    rotated = coupling.pair_mismatch(q @ a @ q.T, q @ b @ q.T, 3, norm=norm, signed=signed, swapped=swapped)
    if not (signed and swapped):  # the sign of V^T J U depends on the signs that the SVD happens to choose
        assert rotated == pytest.approx(expected, rel=1e-8)


@given(sizes, seeds, norms, st.floats(0.01, 100))
def test_scale_changes_nothing(d, seed, norm, scale):
    a, b = matrix(d, seed), matrix(d, seed + 1)
    assert coupling.pair_mismatch(scale * a, b, 3, norm=norm) == pytest.approx(
        coupling.pair_mismatch(a, b, 3, norm=norm)
    )


@given(sizes, seeds)
def test_shared_vectors_give_zero_whatever_the_values(d, seed):
    generator = np.random.default_rng(seed)
    u, v = rotation(d, seed), rotation(d, seed + 1)
    s, t = (np.sort(generator.uniform(0.1, 1, d))[::-1] for _ in range(2))
    assert coupling.pair_mismatch((u * s) @ v.T, (u * t) @ v.T, d) == pytest.approx(0, abs=1e-8)


def test_mismatch_worked_by_hand():
    """J_b = diag(2, 1) has U = V = I. J_a = [[3, 1], [1, 3]] has singular values 4 and 2."""
    a, b = np.array([[3.0, 1.0], [1.0, 3.0]]), np.diag([2.0, 1.0])
    # |J_a| - diag(4, 2) = [[-1, 1], [1, 1]]: Frobenius norm 2
    assert coupling.pair_mismatch(a, b, 2, norm=2) == pytest.approx(2 / np.sqrt(20))
    assert coupling.pair_mismatch(a, b, 2, norm=1) == pytest.approx(2 / 6)
    # -J_a has the same singular values; with the absolute value nothing changes, without it -3 - 4 and so on
    assert coupling.pair_mismatch(-a, b, 2, norm=2) == pytest.approx(2 / np.sqrt(20))
    assert coupling.pair_mismatch(-a, b, 2, norm=2, signed=True) == pytest.approx(
        np.sqrt(49 + 1 + 1 + 25) / np.sqrt(20)
    )
    assert coupling.pair_mismatch(a, b, 1, norm=2) == pytest.approx(1 / 4)


def test_mismatch_is_not_symmetric():
    a, b = matrix(6, 0), matrix(6, 1)
    assert coupling.pair_mismatch(a, b, 3) != pytest.approx(coupling.pair_mismatch(b, a, 3))


def test_swapped_by_hand():
    """J_b maps e1 to e2: U = [e2, e1], V = [e1, e2] for values 2 and 1. J_a maps e2 to e1 likewise."""
    b = np.array([[0.0, 1.0], [2.0, 0.0]])
    a = np.array([[0.0, 2.0], [1.0, 0.0]])  # U_a = [e1, e2], V_a = [e2, e1]: a's input basis is b's output basis
    assert coupling.pair_mismatch(a, b, 2, swapped=True) == pytest.approx(0)
    assert coupling.pair_mismatch(a, b, 2) > 0.5


def test_an_unknown_norm_is_refused():
    with pytest.raises(coupling.CouplingError, match="norm is 3"):
        coupling.mismatch(np.eye(2), np.ones(2), norm=3)


SPECTRA = {
    "flat": lambda d: np.ones(d),
    "gaussian": lambda d: scipy.linalg.svdvals(matrix(d, 5)),
    "decaying": lambda d: 0.9 ** np.arange(d),
    "spiked": lambda d: np.r_[10.0, np.ones(d - 1)],
    "rank one": lambda d: np.r_[1.0, np.full(d - 1, 1e-6)],
}


@pytest.mark.parametrize("d", [32, 128])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_chance_is_the_mean_over_random_frames(d, spectrum, signed, k):
    s = SPECTRA[spectrum](d)
    j = (rotation(d, 0) * s) @ rotation(d, 1)
    generator = np.random.default_rng(2)
    probes = generator.standard_normal((d, 4000))
    stretch = np.linalg.norm(j @ (probes / np.linalg.norm(probes, axis=0)), axis=0).mean()
    moments = metrics.JacobianMoments(float(np.linalg.norm(j)), float(stretch), (d, d))
    frames = [(metrics.haar_frame(d, k, generator), metrics.haar_frame(d, k, generator)) for _ in range(3000)]
    draws = np.array([u.T @ j @ v for u, v in frames])
    for norm in (1, 2):
        drawn = metrics.mismatch(draws, s[:k], norm=norm, signed=signed)
        closed = coupling.chance_mismatch(moments, s, k=k, norm=norm, signed=signed)
        noise = 4 * drawn.std() / np.sqrt(len(drawn))
        assert abs(closed - drawn.mean()) < noise + 1.5e-3 * drawn.mean()


def test_chance_of_a_flat_spectrum_at_p_1_is_high():
    """1 - 1/sqrt(K) of the p = 1 score is there for any flat spectrum: what makes it say so little."""
    d, k = 512, 10
    s = np.ones(d)
    moments = metrics.JacobianMoments(np.sqrt(d), 1.0, (d, d))
    assert 1 - coupling.chance_mismatch(moments, s, k=k, norm=1) == pytest.approx(1 - 1 / np.sqrt(k), abs=0.02)


@given(sizes, seeds)
def test_haar_frames_are_orthonormal(d, seed):
    frame = metrics.haar_frame(d, 3, np.random.default_rng(seed))
    assert np.allclose(frame.T @ frame, np.eye(3))


def test_entry_moments_are_exact():
    j = matrix(24, 3)
    generator = np.random.default_rng(0)
    u, v = (x / np.linalg.norm(x, axis=0) for x in generator.standard_normal((2, 24, 200_000)))
    entries = np.einsum("in,ij,jn->n", u, j, v)
    moments = metrics.JacobianMoments(float(np.linalg.norm(j)), float(np.linalg.norm(j @ v, axis=0).mean()), j.shape)
    assert (entries**2).mean() == pytest.approx(moments.entry_variance, rel=0.02)
    assert np.abs(entries).mean() == pytest.approx(moments.entry_magnitude, rel=0.01)


def test_excess():
    assert coupling.excess(np.array([0.0, 0.5, 1.0]), np.array(1.0)).tolist() == [1.0, 0.5, 0.0]


@given(sizes, seeds)
def test_principal_angles_are_those_of_scipy(d, seed):
    generator = np.random.default_rng(seed)
    a, b = metrics.haar_frame(d, 3, generator), metrics.haar_frame(d, 3, generator)
    expected = np.sort(scipy.linalg.subspace_angles(a, b))
    assert np.allclose(metrics.principal_angles(a.T @ b), expected, atol=1e-6)
    mixed = b @ rotation(3, seed)  # another basis of the same subspace
    assert np.allclose(metrics.principal_angles(a.T @ mixed), expected, atol=1e-6)


trajectories = st.tuples(st.integers(2, 9), st.integers(1, 4), st.integers(2, 6), seeds)


def walk(layers, n, d, seed):
    return np.random.default_rng(seed).standard_normal((layers, n, d)).cumsum(0) + 0.1


@given(trajectories)
def test_line_shape_score_is_at_least_one(shape):
    assert (coupling.line_shape_score(walk(*shape)) >= 1 - 1e-12).all()


@given(trajectories)
def test_line_shape_score_is_one_on_a_line(shape):
    layers, n, d, seed = shape
    generator = np.random.default_rng(seed)
    along = generator.uniform(0.1, 5, (layers, n, 1)).cumsum(0)
    line = generator.standard_normal((n, d)) + along * (generator.standard_normal((n, d)) + 3)
    assert np.allclose(coupling.line_shape_score(line), 1, atol=1e-9)


@given(trajectories, st.floats(0.01, 100))
def test_line_shape_score_knows_no_scale_place_or_rotation(shape, scale):
    trajectory = walk(*shape)
    moved = scale * trajectory @ rotation(shape[2], shape[3]) + 7
    assert np.allclose(coupling.line_shape_score(moved), coupling.line_shape_score(trajectory), rtol=1e-6)


def test_line_shape_score_worked_by_hand():
    """Two unit steps at a right angle: 2 / sqrt(2)."""
    corner = np.array([[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 0.5]]])
    assert coupling.line_shape_score(corner) == pytest.approx([np.sqrt(2)])


@given(trajectories, st.floats(-2, 2).filter(lambda r: abs(r) > 1e-3))
@settings(max_examples=50)
def test_expodistance_is_zero_on_exponential_growth(shape, rate):
    layers, n, d, seed = shape
    directions = np.random.default_rng(seed).standard_normal((layers, n, d))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    grown = np.exp(rate * np.arange(layers))[:, None, None] * directions
    assert np.allclose(coupling.expodistance(grown), 0, atol=1e-12)


def test_expodistance_worked_by_hand():
    """Norms 1, e, e^4: steps of 1 and 3 in the logarithm, variance 1, mean 2."""
    trajectory = np.exp([0.0, 1.0, 4.0])[:, None, None] * np.ones((1, 1, 1))
    assert coupling.expodistance(trajectory) == pytest.approx([0.25])


def test_a_step_of_no_length_has_no_direction():
    still = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]]])
    assert coupling.line_shape_score(still) == pytest.approx([1.0])  # one step has a direction, and it is straight
    assert np.isnan(coupling.line_shape_score(still[:2])).all()


@pytest.mark.parametrize("n", [1, 3, 8])
def test_paths_are_taken_some_tokens_at_a_time(n, monkeypatch):
    trajectory = walk(4, n, 5, 0)
    whole = coupling.line_shape_score(trajectory), coupling.expodistance(trajectory), metrics.residual_norms(trajectory)
    monkeypatch.setattr(metrics, "TOKENS_AT_ONCE", 3)
    parts = coupling.line_shape_score(trajectory), coupling.expodistance(trajectory), metrics.residual_norms(trajectory)
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)
    assert np.allclose(whole[2], np.sqrt((trajectory**2).sum(-1)))
    tensor = torch.from_numpy(trajectory).requires_grad_()
    assert np.array_equal(coupling.line_shape_score(tensor), whole[0])
