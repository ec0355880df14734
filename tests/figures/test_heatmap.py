"""The picture heatmap: couplings, chance and labels."""

import numpy as np
import pytest

import coupling
from coupling import figures
from coupling.errors import CouplingError


@pytest.mark.parametrize("variant", [{}, {"signed": True}, {"swapped": True, "norm": 1, "k": 3, "prompt": 1}])
def test_heatmap_shows_coupling_and_marks_chance_on_the_bar(run, variant):
    name = "mismatch" + ("_swapped" if variant.get("swapped") else "") + ("_signed" if variant.get("signed") else "")
    level = "chance_signed" if variant.get("signed") else "chance"
    choice = {"k": variant.get("k", 5), "norm": variant.get("norm", 2)}
    values, chance = (
        run[variable].sel(choice).isel(prompt=1) if "prompt" in variant else run[variable].sel(choice).mean("prompt")
        for variable in (name, level)
    )
    axes, bar = figures.heatmap(run, excess=False, **variant).axes
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(axes.images[0].get_array()[off], 1 - values.values[off])
    assert axes.images[0].get_array().mask.diagonal().all()
    (marked,) = [line.get_ydata()[0] for line in bar.lines if line.get_linewidth() == 2.5]
    assert marked == pytest.approx(1 - chance.values[off].mean())


def test_the_mean_of_the_cells_is_the_score(all_tokens_run):
    drawn = figures.heatmap(all_tokens_run, excess=False).axes[0].images[0].get_array()
    assert float(drawn.mean()) == pytest.approx(coupling.score(all_tokens_run, k=3))


def test_runs_that_compare_tokens_show_one_block(token_run):
    axes = figures.heatmap(token_run, prompt=0, block=2, excess=False).axes[0]
    coupled = 1 - token_run.mismatch.sel(k=3, norm=2).isel(prompt=0, block=2).values
    off = ~np.eye(len(coupled), dtype=bool)
    assert np.allclose(axes.images[0].get_array()[off], coupled[off])
    assert "block 2" in axes.get_ylabel()


def test_pairs_that_begin_with_one_block_are_told_apart(pairs_run):
    first, second = (figures.heatmap(pairs_run, block=name).axes[0].images[0].get_array() for name in ("2:5", "2:6"))
    assert not np.allclose(first, second)
    assert "block 2:6" in figures.heatmap(pairs_run, block="2:6").axes[0].get_ylabel()
    with pytest.raises(CouplingError, match="several of block 2: it has 2:5, 2:6"):
        figures.heatmap(pairs_run, block=2)


def test_the_variant_is_named_on_the_bar(run):
    assert figures.heatmap(run).axes[1].get_ylabel() == "excess over chance (K = 5, p = 2)"
    assert figures.heatmap(run, excess=False).axes[1].get_ylabel() == "coupling 1 − m (K = 5, p = 2)"
    both = figures.heatmap(run, signed=True, swapped=True, excess=False)
    assert both.axes[1].get_ylabel() == "coupling 1 − m (K = 5, p = 2, swapped signed)"


def test_the_excess_is_drawn_by_default_with_chance_at_zero(run):
    mismatch, chance = (run[name].sel(k=5, norm=2).mean("prompt").values for name in ("mismatch", "chance"))
    axes, bar = figures.heatmap(run).axes
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(axes.images[0].get_array()[off], ((chance - mismatch) / chance)[off])
    (marked,) = [line.get_ydata()[0] for line in bar.lines if line.get_linewidth() == 2.5]
    assert marked == 0


def test_a_pair_that_dwarfs_all_others_does_not_set_the_scale(run):
    outlying = run.copy(deep=True)
    outlying["mismatch"].loc[{"block": 2, "other_block": 3}] = -5.0
    usual, scaled = (figures.heatmap(one).axes[0].images[0].get_clim() for one in (run, outlying))
    assert scaled[1] < 2 * usual[1]
