"""The rows behind the heatmap and the circle."""

import numpy as np
import pytest

import coupling
from coupling.choices import VARIANTS
from coupling.figures.circle import LEAST_SCALE, excess_over_chance
from coupling.figures.page.contents import MEAN
from coupling.figures.page.pairs import join_scales, pair_rows
from coupling.figures.page.vega import SCALE


def only(rows, **choice):
    (row,) = [row for row in rows if row.items() >= choice.items()]
    return row


def test_there_is_one_row_for_each_choice_of_the_controls(run):
    rows = pair_rows(run, [MEAN, 0, 1], 100)
    choices = {(row["k"], row["p"], row["v"], row["t"]) for row in rows}
    assert len(rows) == len(choices) == 2 * 2 * len(VARIANTS) * 3
    assert {row["v"] for row in rows} == {variant.label for variant in VARIANTS}


def test_the_means_of_a_row_are_the_library_s(run):
    row = only(pair_rows(run, [MEAN], 100), k=3, p=1, v="swapped", t=MEAN)
    score, chance = coupling.score(run, 3, 1, swapped=True), coupling.chance_score(run, 3, 1)
    assert row["mean"] == pytest.approx(score, abs=1e-5)
    assert row["chance"] == pytest.approx(chance, abs=1e-5)
    assert row["excess"] == pytest.approx(float(coupling.excess(1 - score, 1 - chance)), abs=1e-5)


def test_the_excess_of_pairs_is_that_of_the_picture(run):
    row = only(pair_rows(run, [1], 100), k=5, p=2, v="signed", t=1)
    expected = excess_over_chance(run, k=5, signed=True, prompt=1)[np.tril_indices(8, -1)]
    assert np.allclose(np.array(row["e"]) / SCALE, expected, atol=0.5001 / SCALE)


def test_tokens_are_compared_block_by_block_in_single_prompts(token_run):
    rows = pair_rows(token_run, [MEAN, 0], 4)
    assert {row["t"] for row in rows} == {0}
    row = only(rows, block="2", k=3, p=2, v="absolute")
    assert [name.split()[0] for name in row["names"]] == ["0", "1", "2", "3"]
    expected = 1 - token_run.mismatch.sel(k=3, norm=2).isel(prompt=0, block=2).values[:4, :4]
    off = ~np.eye(4, dtype=bool)
    shown = np.array([np.nan if value is None else value for value in row["c"]]).reshape(4, 4) / SCALE
    assert np.allclose(shown[off], expected[off], atol=0.5001 / SCALE)
    assert np.isnan(shown.diagonal()).all()
    assert row["e"] == []


def test_equal_choices_of_several_runs_share_their_scales(run, untrained):
    tables = [pair_rows(one, [MEAN, 0], 100) for one in (run, untrained)]
    join_scales(tables)
    for first, second in zip(*tables, strict=True):
        values = [value for value in first["c"] + second["c"] if value is not None]
        assert first["range"] == second["range"] == [min(values), max(values)]
        assert first["strongest"] == second["strongest"] == max([*first["e"], *second["e"], LEAST_SCALE * SCALE])
        assert first["any"] == any(value > 0 for value in first["e"])
