"""The picture trajectory: principal components, and paths with their labels."""

import re
from itertools import combinations

import numpy as np
import pytest

import coupling
from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.style import printable
from coupling.figures.trajectory import MOST_NAMED, paths_of, principal_components
from tests.vision import digits, save_vit


@pytest.mark.parametrize("shape", [(4, 5, 40), (30, 9, 12)])
def test_principal_components_are_those_of_an_svd(shape):
    points = np.random.default_rng(0).normal(size=shape).cumsum(axis=1)
    coordinates, shares = principal_components(points)
    flat = points.reshape(-1, shape[-1]) - points.reshape(-1, shape[-1]).mean(axis=0)
    left, values, right = np.linalg.svd(flat, full_matrices=False)
    assert np.allclose(np.abs(coordinates.reshape(-1, 2)), np.abs(left[:, :2] * values[:2]), atol=1e-8 * values[0])
    assert np.allclose(shares, values[:2] ** 2 / (values**2).sum())
    signs = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(axis=1)])  # the largest loading is positive
    assert np.allclose(coordinates.reshape(-1, 2), left[:, :2] * values[:2] * signs, atol=1e-8 * values[0])


def test_too_few_points_for_two_components():
    with pytest.raises(CouplingError, match="1 points of 5 features do not have 2 components"):
        principal_components(np.ones((1, 1, 5)))


def _drawn_paths(figure, points):
    lines = [line.get_xydata() for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    return np.array([line for line in lines if len(line) == points])


def test_trajectory_draws_a_labeled_path_per_token(run, recording):
    stored = run.residual_stream.isel(detailed_prompt=0).values[: recording.n_tokens]
    assert np.allclose(stored, recording.trajectory.numpy().transpose(1, 0, 2), rtol=1e-6)
    figure = figures.trajectory(run, tokens=(1, 5))
    paths, _ = principal_components(stored[1:5])
    assert np.allclose(_drawn_paths(figure, 9), paths)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts <= {printable(str(text), blank="·") for text in run.token_text.values[0][1:5]}
    assert len(texts) >= 3


def test_a_number_is_one_token(run):
    stored = run.residual_stream.isel(detailed_prompt=0).values
    figure = figures.trajectory(run, tokens=2)
    assert np.allclose(_drawn_paths(figure, 9), principal_components(stored[2:3])[0])
    assert paths_of(run, 0, 2).tokens == [2]
    last = int(run.n_tokens[0]) - 1
    with pytest.raises(CouplingError, match=f"`tokens` is 99, but the run's tokens are 0 to {last}"):
        figures.trajectory(run, tokens=99)


@pytest.mark.parametrize("token", [-1, "last"])
def test_tokens_count_from_the_end_as_well(run, token):
    n_tokens = int(run.n_tokens[0])
    assert paths_of(run, 0, token).tokens == [n_tokens - 1]
    assert paths_of(run, 0, (-3, -1)).tokens == [n_tokens - 3, n_tokens - 2]
    with pytest.raises(CouplingError, match="`tokens` is -99, but the run's tokens are 0 to"):
        figures.trajectory(run, tokens=-99)
    with pytest.raises(CouplingError, match="`tokens` is 'first', but must be a number, 'last', or"):
        figures.trajectory(run, tokens="first")


def test_by_default_all_tokens_of_the_prompt_are_drawn(run):
    paths = paths_of(run, 1)
    assert (paths.prompt, paths.tokens) == (1, list(range(int(run.n_tokens[1]))))
    assert paths.stream.shape == (len(paths.texts), 9, 128)


def test_an_image_has_its_patches_by_place_and_not_all_are_named(tmp_path):
    vit = save_vit(tmp_path / "vit")
    run = coupling.analyze(vit, images=digits(1), k=2, detail="all")
    texts = [text.get_text() for text in figures.trajectory(run).axes[0].texts]
    assert "cls" in texts
    assert any(re.fullmatch(r"\(\d, \d\)", text) for text in texts)
    assert figures.trajectory(run).legends[0].get_title().get_text().startswith("image 0, ")
    many = run.isel(token=np.arange(197) % 17).assign(n_tokens=("prompt", [197]))
    noise = np.random.default_rng(0).normal(size=many.residual_stream.shape)
    figure = figures.trajectory(many.assign(residual_stream=(many.residual_stream.dims, noise.cumsum(axis=2))))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert 10 < len(boxes) <= MOST_NAMED
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_run_without_residual_streams_is_refused(run):
    with pytest.raises(
        CouplingError, match=r"contains no residual stream, which the picture trajectory draws.*`detail"
    ):
        figures.trajectory(run.drop_vars("residual_stream"))
