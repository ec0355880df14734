"""The tables of pairs behind the heatmap, the strongest pairs and the circle."""

import numpy as np
import pytest

import coupling
from coupling.choices import VARIANTS
from coupling.figures.circle import excess_over_chance
from coupling.figures.page.packing import unpacked
from coupling.figures.page.pairs import measured_tokens, pair_tables
from coupling.figures.page.section import MEAN, key
from tests.figures.page.helpers import material


def tables(run, **options):
    (found,) = pair_tables(material(run, **options))
    return found["tables"]


def test_there_is_one_table_for_each_choice_of_the_controls(run):
    assert len(tables(run, prompts=2)) == 2 * 2 * len(VARIANTS) * 3
    few = tables(run, prompts=2, variants=1)
    assert len(few) == 2 * 2 * (len(VARIANTS) + 2)
    assert key(0, 1, VARIANTS[1].label, MEAN) in few
    assert key(0, 1, VARIANTS[1].label, 0) not in few


def test_the_means_are_the_library_s(run):
    ((score, chance, excess, error),) = tables(run)[key(0, 1, "swapped", MEAN)]["means"]
    assert score == pytest.approx(coupling.score(run, 3, 1, swapped=True), rel=1e-4)
    assert chance == pytest.approx(coupling.chance_score(run, 3, 1), rel=1e-4)
    assert excess == pytest.approx(float(coupling.excess(1 - score, 1 - chance)), abs=1e-4)
    assert error > 0
    assert tables(run)[key(0, 1, "swapped", 0)]["means"][0][3] is None  # of one prompt


def test_the_numbers_of_pairs(run):
    table = tables(run, prompts=2)[key(1, 2, "signed", 1)]
    coupled = unpacked(table["c"]).reshape(8, 8)
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(coupled[off], 1 - run.mismatch_signed.sel(k=5, norm=2, prompt=1).values[off], atol=1e-4)
    assert np.isnan(coupled.diagonal()).all()
    excess = unpacked(table["e"]).reshape(8, 8)
    symmetric = (excess + excess.T)[off] / 2
    assert np.allclose(symmetric, excess_over_chance(run, k=5, signed=True, prompt=1)[off], atol=1e-4)


def test_rounded_numbers_are_of_single_prompts_alone(run):
    rounded = tables(run, bits=8)
    assert rounded[key(0, 2, "absolute", MEAN)]["c"][2] == 16
    assert rounded[key(0, 2, "absolute", 0)]["c"][2] == 8


def test_tokens_are_compared_block_by_block_in_single_prompts(token_run):
    (found,) = pair_tables(material(token_run, tokens=4, skips=(0, 2)))
    assert {name.split(",")[3] for name in found["tables"]} == {"0"}
    assert found["tokens"]["0"] == [0, 1, 2, 3]
    table = found["tables"][key(0, 2, "absolute", 0, "2")]
    expected = 1 - token_run.mismatch.sel(k=3, norm=2).isel(prompt=0, block=2).values
    np.fill_diagonal(expected, np.nan)
    shown = unpacked(table["c"]).reshape(4, 4)
    off = ~np.eye(4, dtype=bool)
    assert np.allclose(shown[off], expected[:4, :4][off], atol=1e-4)
    all_tokens, without_first_two = (means[0] for means in table["means"])
    assert all_tokens == pytest.approx(np.nanmean(expected), rel=1e-4)  # of all tokens, not of those that are shown
    assert without_first_two == pytest.approx(np.nanmean(expected[2:, 2:]), rel=1e-4)
    assert measured_tokens(token_run, 0) == list(range(int(token_run.n_tokens[0])))
