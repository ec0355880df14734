"""Measures of the residual stream, against hand-worked cases and independent computations."""

import numpy as np
import pytest
import scipy.spatial

from coupling import representation


def layer(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_prompt_entropy_is_that_of_the_gram_matrix():
    z = layer(7, 5)
    gram = z @ z.T
    eigenvalues = np.linalg.eigvalsh(gram / np.trace(gram))
    positive = eigenvalues[eigenvalues > 1e-12]
    assert representation.prompt_entropy(z) == pytest.approx(-(positive * np.log(positive)).sum())
    assert representation.prompt_entropy(np.outer(np.arange(1, 4), np.ones(5))) == pytest.approx(0, abs=1e-9)


def test_curvature_by_hand():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)  # two right angles
    assert representation.curvature(square) == pytest.approx(np.pi / 2)
    back = np.array([[0, 0], [1, 0], [0, 0]], float)
    assert representation.curvature(back) == pytest.approx(np.pi)
    assert np.isnan(representation.curvature(square[:2]))
    stays = np.array([[0, 0], [1, 0], [1, 0], [2, 0]], float)  # a step of length 0 has no direction
    assert np.isnan(representation.curvature(stays))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_intrinsic_dimension_of_a_cube_is_its_own(d):
    cube = np.random.default_rng(0).uniform(size=(2000, d))
    embedded = cube @ np.linalg.qr(layer(12, 12))[0][:d]  # rotated into 12 dimensions
    assert representation.intrinsic_dimension(embedded) == pytest.approx(d, rel=0.1)


def test_the_two_nearest_neighbors_are_those_of_scipy():
    points = layer(40, 6)
    distances, _ = scipy.spatial.KDTree(points).query(points, k=3)
    expected = 39 / np.log(distances[:, 2] / distances[:, 1]).sum()
    assert representation.intrinsic_dimension(points) == pytest.approx(expected)
    assert representation.intrinsic_dimension(np.vstack([points, points])) == pytest.approx(expected)  # points twice
    assert np.isnan(representation.intrinsic_dimension(points[:2]))


def test_cka_is_invariant_to_rotation_and_scale():
    x, y = layer(9, 6), layer(9, 6, 1)
    rotation = np.linalg.qr(layer(6, 6, 2))[0]
    assert representation.linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    xc, yc = x - x.mean(0), y - y.mean(0)
    definition = np.linalg.norm(yc.T @ xc) ** 2 / (np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc))
    assert representation.linear_cka(x, y) == pytest.approx(definition)
    assert np.isnan(representation.linear_cka(np.ones((4, 2)), x[:4, :2]))


def test_cosines():
    x = layer(5, 4)
    assert representation.mean_cosine(x, -2 * x) == pytest.approx(-1)
    x[0] = 0  # a token that is zero has no direction
    assert representation.mean_cosine(x, x) == pytest.approx(1)
    assert np.isnan(representation.mean_cosine(np.zeros((2, 3)), np.zeros((2, 3))))
