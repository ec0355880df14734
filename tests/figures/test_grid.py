"""The picture grid: its tiles against dense Jacobians, and which blocks and tokens it shows."""

from itertools import combinations

import numpy as np
import pytest

import coupling
from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.style import printable
from tests.vision import digits, make_vit, save_vit


def drawn(figure) -> np.ndarray:
    """The image of the first run, NaN in the gaps."""
    return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)


def test_grid_tiles_are_one_jacobian_in_the_frames_of_another(run, jacobians, decompositions):
    figure = figures.grid(run, k=5, blocks=(2, 6))
    image = drawn(figure)
    assert image.shape == (4 * 5 + 3, 4 * 5 + 3)  # tiles of 5 and gaps of 1
    for row, a in enumerate(range(2, 6)):
        for column, b in enumerate(range(2, 6)):
            left, _, right = decompositions[b]
            tile = np.abs(left[:, :5].T @ jacobians[a] @ right[:5].T)
            shown = image[row * 6 : row * 6 + 5, column * 6 : column * 6 + 5]
            assert np.allclose(shown, tile, atol=2e-4 * tile.max())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["2", "3", "4", "5"]
    assert drawn(figures.grid(run, k=3)).shape == (31, 31)  # all eight blocks: the middle ones


def test_grid_has_one_color_scale_that_a_single_huge_jacobian_does_not_blank(run):
    image = figures.grid(run).axes[0].images[0]
    assert image.get_clim()[0] == 0
    assert image.get_array().max() > 2 * image.get_clim()[1]  # block 0 of this checkpoint dwarfs the others
    assert figures.grid(run, highest=7.0).axes[0].images[0].get_clim() == (0, 7)
    for highest in (0, -1, np.nan, np.inf):
        with pytest.raises(CouplingError, match=r"`highest` is .* above 0"):
            figures.grid(run, highest=highest)


def test_tokens_are_labeled_with_their_text(token_run):
    labels = [label.get_text() for label in figures.grid(token_run, tokens=(0, 3)).axes[0].get_yticklabels()]
    assert labels == [printable(str(text), blank="·") for text in token_run.token_text.values[0][:3]]


def test_patches_are_labeled_by_place_without_overlap(tmp_path):
    run = coupling.analyze(save_vit(tmp_path / "vit", make_vit(patch_size=4)), images=digits(1), k=2, kind="self")
    figure = figures.grid(run, tokens=(0, 65))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["cls", "(0, 4)", "(1, 1)"]
    assert figure.get_suptitle().endswith("image 0")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) == 13
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_number_is_one_of_the_tokens_that_a_depth_run_measured(all_tokens_run):
    def draw(**arguments):
        return figures.grid(all_tokens_run, prompt=1, blocks=(3, 4), **arguments)

    tiles = all_tokens_run.projection.isel(detailed_prompt=1).sel(block=3, other_block=3)
    last = int(all_tokens_run.n_tokens[1]) - 1
    for arguments, token in (
        ({"tokens": 2}, 2),
        ({"tokens": 0}, 0),
        ({"tokens": -2}, last - 1),
        ({"tokens": "last"}, last),
        ({}, last),
    ):
        figure = draw(**arguments)
        expected = np.abs(tiles.isel(token=token).transpose("rank", "other_rank").values)
        assert np.allclose(drawn(figure), expected)
        assert f", token {token}" in figure.axes[1].get_ylabel()
        assert figure.get_suptitle().endswith("prompt 1")
    with pytest.raises(CouplingError, match=f"did not measure token 99 here, but tokens 0 to {last}"):
        draw(tokens=99)
    with pytest.raises(CouplingError, match="`tokens` must be a number, not a range"):
        draw(tokens=(1, 3))


def test_the_token_of_a_depth_run_that_measured_one(run):
    measured = int(run.measured_token.isel(prompt=0))
    for token in (measured, -1, "last"):  # the prompt's last token is the one that was measured
        assert np.array_equal(drawn(figures.grid(run, tokens=token)), drawn(figures.grid(run)), equal_nan=True)
    with pytest.raises(
        CouplingError, match=f"did not measure token -2 of prompt 0, but token {measured}; .*`tokens={measured - 1}`"
    ):
        figures.grid(run, tokens=-2)
    with pytest.raises(CouplingError, match=f"did not measure token 0 of prompt 0, but token {measured}"):
        figures.grid(run, tokens=0)


def test_a_number_is_one_token_of_a_run_that_compares_tokens(token_run):
    one, same = (drawn(figures.grid(token_run, tokens=tokens)) for tokens in (2, (2, 3)))
    assert one.shape == (3, 3)
    assert np.array_equal(one, same)
    last = int(token_run.n_tokens[0]) - 1
    from_the_end = [drawn(figures.grid(token_run, tokens=tokens)) for tokens in (last, -1, "last", (-1, last + 1))]
    assert all(np.array_equal(from_the_end[0], image) for image in from_the_end)
    with pytest.raises(CouplingError, match="`tokens` is 99, but the run's tokens are 0 to"):
        figures.grid(token_run, tokens=99)
    with pytest.raises(CouplingError, match=r"`tokens` is \(98, 99\), but"):
        figures.grid(token_run, tokens=(98, 99))


def test_the_former_keyword_token_still_works(all_tokens_run):
    with pytest.warns(FutureWarning, match="token is now called tokens"):
        figure = figures.grid(all_tokens_run, token=1)
    expected = drawn(figures.grid(all_tokens_run, tokens=1))
    assert np.array_equal(drawn(figure), expected, equal_nan=True)
    with pytest.raises(TypeError, match="both given"):
        figures.grid(all_tokens_run, token=1, tokens=1)


def test_blocks_and_block_belong_to_different_kinds(run, token_run):
    with pytest.raises(CouplingError, match="`block` is for runs that compare tokens"):
        figures.grid(run, block=2)
    with pytest.raises(CouplingError, match="`blocks` is for runs of kind depth; a run of kind self takes `block`"):
        figures.grid(token_run, blocks=(0, 2))


def test_pairs_that_begin_with_one_block_are_told_apart(pairs_run):
    assert "block 2:5" in figures.grid(pairs_run, block="2:5").axes[1].get_ylabel()


def test_a_32_block_grid_at_k_50(deep_run):
    image = drawn(figures.grid(deep_run, blocks=(0, 32)))
    assert image.shape == (32 * 54 - 4, 32 * 54 - 4)
    assert np.isfinite(image[:50, :50]).all()
