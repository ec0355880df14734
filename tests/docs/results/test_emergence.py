"""The page's numbers and statements are those of the study's table."""

import pandas as pd
import pytest

from coupling.analyses.studies.emergence.results import POINTS, TABLE, summary
from coupling.analyses.studies.emergence.training import HIDDEN, LAYERS, SEEDS, STEPS
from tests.docs.pages import tables_of, text_of
from tests.helpers import ROOT

PAGE = "results/emergence.md"
FOLDER = ROOT / "analyses" / "studies" / "results"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(FOLDER / TABLE)


def curves(table, measure, norm=2):
    """One curve per model: means over seeds and prompts, by step."""
    return table[table["norm"] == norm].pivot_table(index="step", columns="model", values=measure)


def test_the_design(table):
    text = text_of(PAGE)
    assert f"({LAYERS} blocks, width {HIDDEN})" in text
    assert f"for {STEPS[-1]} steps" in text
    assert f"measures {table['step'].nunique()} checkpoints" in text
    assert table["seed"].nunique() == len(SEEDS) == 3
    assert table["prompt"].nunique() == 8


def test_the_numbers(table):
    assert tables_of(PAGE)[0] == summary(table, pd.read_csv(FOLDER / POINTS))


def test_coupling_rises_from_chance_peaks_and_falls_by_about_half(table):
    excess, loss = curves(table, "excess"), curves(table, "loss")
    for model in excess:
        curve = excess[model]
        assert abs(curve.loc[:8]).max() < 0.01
        assert curve.iloc[-1] > 0.03
        assert 0.3 < curve.iloc[-1] / curve.max() < 0.7
        assert loss[model].iloc[-1] == loss[model].min()


def test_the_diagonal_share_rises_from_its_chance_level_and_recedes(table):
    share = curves(table, "diagonal_share").mean(axis=1)
    assert (share.loc[:8] - 1 / 10).abs().max() < 0.005
    assert share.idxmax() == 128
    said = f"rises to {share[32]:.2f} at step 32 and to {share[128]:.2f} at step 128, and recedes to {share[768]:.2f}"
    assert said in text_of(PAGE)


def test_at_p_1_the_score_hardly_moves_while_its_chance_level_falls_and_recovers(table):
    score, chance = curves(table, "score", norm=1), curves(table, "chance", norm=1)
    for model in score:
        assert abs(score[model].iloc[-1] - score[model].iloc[0]) < 0.03
        assert chance[model].iloc[0] - chance[model].min() > 0.1
        assert chance[model].iloc[-1] > chance[model].min() + 0.05


def test_paths_straighten_and_bend_again_and_growth_is_less_exponential(table):
    lines, distance, growth = (curves(table, name) for name in ("line_shape_score", "expodistance", "residual_growth"))
    for model in lines:
        assert lines[model].min() < 1.4
        assert lines[model].min() + 0.2 < lines[model].iloc[-1] < lines[model].iloc[0]
        assert distance[model].iloc[-1] > 2 * distance[model].iloc[0]
        assert growth[model].iloc[-1] > 4 * growth[model].iloc[0]


def test_weight_decay_changes_little(table):
    last = curves(table, "excess").iloc[-1]
    assert "At the end the excess over chance is about 0.08 with and without it" in text_of(PAGE)
    assert all(round(value, 2) == 0.08 for value in last)
