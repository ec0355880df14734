"""The picture circle: the excess of each pair, and its chords."""

import numpy as np
import pytest
from matplotlib.patches import PathPatch

import coupling
from coupling import figures
from coupling.errors import CouplingError
from coupling.figures.circle import clockwise, excess_over_chance, symmetric_excess


def test_circle_has_a_chord_for_each_pair_above_chance_and_none_below(run, untrained):
    for dataset in (run, untrained):
        share = excess_over_chance(dataset, k=5)
        m, chance = (dataset[name].sel(k=5, norm=2).mean("prompt").values for name in ("mismatch", "chance"))
        directed = 1 - m / chance
        assert np.allclose(share[5, 2], (directed[5, 2] + directed[2, 5]) / 2)
        chords = [patch for patch in figures.circle(dataset).axes[0].patches if isinstance(patch, PathPatch)]
        values = np.sort(share[np.tril_indices(8, -1)])
        assert len(chords) == (values > 0).sum()
        widths, opacities = ([getattr(patch, get)() for patch in chords] for get in ("get_linewidth", "get_alpha"))
        assert (np.diff(widths) > 0).all()  # drawn from the weakest to the strongest
        assert (np.diff(opacities) > 0).all()
    assert len(figures.circle(untrained).axes[0].patches) < len(figures.circle(run).axes[0].patches)


def test_the_excess_is_the_library_s_in_both_directions():
    mismatch = np.array([[np.nan, 0.45], [0.6, np.nan]])
    chance = np.array([[np.nan, 0.9], [0.8, np.nan]])
    expected = (float(coupling.excess(0.45, 0.9)) + float(coupling.excess(0.6, 0.8))) / 2
    table = symmetric_excess(mismatch, chance)
    assert table[0, 1] == table[1, 0] == pytest.approx(expected)
    assert np.isnan(table.diagonal()).all()


def test_long_prompts_weigh_no_more_than_short_ones(all_tokens_run):
    share = excess_over_chance(all_tokens_run, k=3)
    m, chance = (
        all_tokens_run[name].sel(k=3, norm=2).mean("token").mean("prompt").values for name in ("mismatch", "chance")
    )
    expected = 1 - m / chance
    assert share[4, 2] == pytest.approx((expected[4, 2] + expected[2, 4]) / 2)


def test_the_variant_is_named_in_the_legend(run):
    (legend,) = figures.circle(run, signed=True, swapped=True).legends
    assert legend.get_title().get_text() == "excess over chance (K = 5, p = 2, swapped signed)"


def test_blocks_are_in_order_clockwise_from_the_top():
    assert np.allclose(clockwise(4), [[0, 1], [1, 0], [0, -1], [-1, 0]])


def test_runs_that_compare_tokens_are_refused(token_run):
    with pytest.raises(CouplingError, match=r"picture circle compares blocks.*kind='depth'"):
        figures.circle(token_run)


def test_only_the_strongest_pairs_are_drawn_and_the_others_counted(run):
    def chords(figure):
        return [patch for patch in figure.axes[0].patches if patch.get_edgecolor()[3] > 0]

    table = excess_over_chance(run, k=5)
    above = int((table[np.tril_indices(8, -1)] > 0).sum())
    assert len(chords(figures.circle(run))) == above
    figure = figures.circle(run, top=3)
    assert len(chords(figure)) == 3
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert f"the 3 strongest pairs; {above - 3} more are above chance" in texts
    with pytest.raises(CouplingError, match="`top` is 0"):
        figures.circle(run, top=0)
