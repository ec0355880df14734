"""The projections on the page are those of the run."""

import numpy as np

from coupling.figures.page import grid
from coupling.figures.page.packing import unpacked
from tests.figures.page.helpers import material


def tile(data, prompt, group, pair, count):
    table, size = data["prompts"][str(prompt)], data["size"]
    at = (group * count + pair[0]) * count + pair[1]
    shares = unpacked(table["shares"]).reshape(-1, size, size)[at]
    return shares * table["largest"][at]


def test_projections_of_blocks(run):
    (data,) = grid.SECTION.data(material(run, prompts=2))
    assert (data["size"], data["of"], set(data["prompts"])) == (5, 5, {"0", "1"})
    expected = np.abs(run.projection.isel(detailed_prompt=1).sel(block=2, other_block=6).values)
    assert np.allclose(tile(data, 1, 0, (2, 6), 8), expected, atol=0.003 * expected.max())


def test_of_several_tokens_the_last_measured_is_shown(all_tokens_run):
    (data,) = grid.SECTION.data(material(all_tokens_run))
    last = int(all_tokens_run.n_tokens[0]) - 1
    expected = np.abs(all_tokens_run.projection.isel(detailed_prompt=0, token=last, block=1, other_block=4).values)
    assert np.allclose(tile(data, 0, 0, (1, 4), 8), expected, atol=0.003 * expected.max())


def test_projections_of_tokens_at_a_block(pairs_run):
    (data,) = grid.SECTION.data(material(pairs_run))
    assert data["groups"] == ["2:5", "2:6"]
    expected = np.abs(pairs_run.projection.isel(detailed_prompt=0, block=1, token=0, other_token=2).values)
    found = tile(data, 0, 1, (0, 2), int(pairs_run.n_tokens[0]))
    assert np.allclose(found, expected, atol=0.003 * expected.max())


def test_what_does_not_fit_is_left_out(run, monkeypatch):
    assert grid.SECTION.data(material(run.drop_vars("projection"))) == [None]
    monkeypatch.setattr(grid, "MOST_BYTES", 3000)
    (data,) = grid.SECTION.data(material(run, prompts=3))
    assert set(data["prompts"]) == {"0"}
    monkeypatch.setattr(grid, "MOST_BYTES", 300)
    assert grid.SECTION.data(material(run)) == [None]
    monkeypatch.setattr(grid, "MOST_K", 2)
    monkeypatch.setattr(grid, "MOST_BYTES", 3000)
    (data,) = grid.SECTION.data(material(run))
    assert (data["size"], data["of"]) == (2, 5)
