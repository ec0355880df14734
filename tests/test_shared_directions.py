"""The table of directions against hand-worked cases, and the threshold of sharing against random draws."""

import json

import numpy as np
import pytest

from coupling.shared_directions import COLUMNS, Directions, as_csv, as_json, read_directions, shared_above

WIDTH = 64


def unit(*places: int, signs: tuple[int, ...] = ()) -> np.ndarray:
    """Columns that are axes of the residual stream."""
    columns = np.zeros((WIDTH, len(places)))
    columns[list(places), range(len(places))] = signs or 1
    return columns


def by_axis(block, side, vectors):
    """A vocabulary with one item per axis: an item's score is the coordinate along it."""
    return vectors.T


@pytest.fixture
def table():
    """Blocks 4 and 6 write axis 1 (one of them with the other sign) and read axes of their own; 5 shares nothing."""
    values = np.array([3.0, 2.0])
    return read_directions(
        {
            4: Directions(values, unit(1, 2), unit(10, 11)),
            5: Directions(values, unit(3, 5), unit(12, 13)),
            6: Directions(values, unit(7, 1, signs=(1, -1)), unit(14, 15)),
        },
        by_axis,
        lambda item: f"<{item}>",
        top=2,
    )


def test_every_vector_is_named_by_its_axis(table):
    assert tuple(table.columns) == COLUMNS
    assert table["block"].tolist() == [4] * 4 + [5] * 4 + [6] * 4
    assert table["side"].tolist() == ["left", "left", "right", "right"] * 3
    first = table.set_index(["block", "side", "rank"])["toward"].map(lambda names: names[0])
    assert first[4, "left"].tolist() == ["<1>", "<2>"]
    assert first[5, "right"].tolist() == ["<12>", "<13>"]
    assert first[6, "left"].tolist() == ["<7>", "<1>"]  # the sign is that of the strongest item


def test_signs_change_together(table):
    """The second pair of block 6 has its left vector turned, so its right one points against axis 15."""
    row = table.query("block == 6 and side == 'right' and rank == 1").iloc[0]
    assert row["against"][0] == "<15>"


def test_what_is_shared_is_marked(table):
    marked = table[table["shared"]]
    assert marked[["block", "side", "rank"]].values.tolist() == [[4, "left", 0], [6, "left", 1]]
    assert marked["shared_blocks"].tolist() == [[6], [4]]
    assert marked["nearest_rank"].tolist() == [1, 0]
    assert marked["cosine"].tolist() == pytest.approx([1, 1])
    assert table.attrs["comparisons"] == 3 * 2 * 2
    assert table.attrs["width"] == WIDTH


def test_one_block_shares_with_none():
    alone = read_directions({2: Directions(np.ones(1), unit(1), unit(2))}, by_axis, str, top=1)
    assert not alone["shared"].any()
    assert json.dumps(as_json(alone))
    assert as_json(alone)["directions"][0]["nearest_block"] is None


@pytest.mark.parametrize("width", [16, 200])
def test_random_directions_pass_the_threshold_as_often_as_said(width):
    """A level of a half, so that draws can tell: 400 tables of 12 comparisons of independent vectors."""
    draws = np.random.default_rng(0).standard_normal((400, 12, 2, width))
    draws /= np.linalg.norm(draws, axis=-1, keepdims=True)
    largest = np.abs((draws[:, :, 0] * draws[:, :, 1]).sum(-1)).max(axis=1)
    share = (largest > shared_above(width, 12, level=0.5)).mean()
    independent = 1 - (1 - 0.5 / 12) ** 12
    assert share == pytest.approx(independent, abs=4 * np.sqrt(0.25 / 400))
    assert share <= 0.5


def test_thresholds_of_nothing_to_compare():
    assert shared_above(64, 0) == 1
    assert shared_above(1, 5) == 1
    assert shared_above(64, 100) > shared_above(64, 10) > shared_above(640, 10)


def test_csv_has_lists_as_json(table):
    header, first, *_ = as_csv(table).splitlines()
    assert header == ",".join(COLUMNS)
    assert '"[""<1>"", ""<63>""]"' in first
