"""What pictures read from runs: names, choices and means."""

import numpy as np
import pytest
import xarray as xr

from coupling.choices import variant_of
from coupling.errors import CouplingError
from coupling.figures.selection import (
    as_runs,
    choose_block,
    choose_range,
    detailed_index,
    mean_over_pairs,
    mean_prompt_by_prompt,
    numbers_as_text,
    pair_names,
    run_names,
    shared_k,
    token_texts,
    variant_suffix,
)


def named(model, **attributes):
    return xr.Dataset(attrs={"model": model, **attributes})


def test_no_two_runs_have_one_name():
    runs = [named("org/a"), named("b/a"), named("a", weights="random"), named("a", revision="step8")]
    assert run_names(runs) == ["a #1", "a #2", "a (random weights)", "a@step8"]
    assert run_names([named("a"), named("a", kind="self"), named("b")]) == ["a (depth)", "a (self)", "b"]
    long = named("vit_" + "x" * 60, weights="random")
    assert run_names([long]) == [f"vit_{'x' * 15}…{'x' * 20} (random weights)"]


def test_one_run_or_several(run):
    assert as_runs(run) == [run]
    with pytest.raises(CouplingError, match="no run was given"):
        as_runs([])


def test_k_is_the_largest_that_all_have_or_the_given_one(run):
    assert (shared_k([run], None), shared_k([run, run.sel(k=[3])], None), shared_k([run], 3)) == (5, 3, 3)
    with pytest.raises(CouplingError, match="not measured at K = 4"):
        shared_k([run], 4)
    with pytest.raises(CouplingError, match="share no K"):
        shared_k([run.sel(k=[3]), run.sel(k=[5])], None)


def test_a_share_is_another_number_in_runs_of_other_widths(run):
    wide, narrow = (run.sel(k=[k]).assign_coords(k_label=("k", ["10%"])) for k in (5, 3))
    assert shared_k([wide, narrow], None) == "10%"
    tables = [mean_over_pairs(one, "mismatch", k="10%", norm=2) for one in (wide, narrow)]
    assert np.array_equal(tables[1], mean_over_pairs(run, "mismatch", k=3, norm=2), equal_nan=True)
    assert not np.array_equal(*tables, equal_nan=True)


def test_blocks_and_pairs_of_blocks(token_run, pairs_run, run):
    assert pair_names(pairs_run) == ["2:5", "2:6"]
    assert [choose_block(pairs_run, block) for block in (None, "2:6")] == [0, 1]
    assert [choose_block(token_run, block) for block in (None, 6, "6")] == [3, 6, 6]
    assert choose_block(pairs_run.isel(block=[1]), 2) == 0  # one pair begins with 2
    with pytest.raises(CouplingError, match="no block 9: it has 0, 1"):
        choose_block(token_run, 9)
    with pytest.raises(CouplingError, match="this run of kind depth compares blocks"):
        choose_block(run, 2)


def test_ranges_and_single_numbers():
    available = [0, 1, 2, 4, 5]
    assert choose_range((1, 5), available, "tokens") == [1, 2, 4]
    assert choose_range(2, available, "tokens") == [2]
    assert choose_range(np.int64(2), available, "tokens") == [2]
    assert choose_range(None, list(range(20)), "tokens") == list(range(6, 14))  # the middle eight
    for wanted in (3, (3, 4)):
        with pytest.raises(CouplingError, match=r"`tokens` is .*, but the run's tokens are 0, 1, 2, 4, 5"):
            choose_range(wanted, available, "tokens")


def test_numbers_as_text():
    assert numbers_as_text(range(8)) == "0 to 7"
    assert numbers_as_text([0, 2]) == "0, 2"


def test_token_texts_may_be_unknown(run):
    assert token_texts(run.drop_vars("token_text"), 0) == [str(number) for number in range(int(run.n_tokens[0]))]
    assert token_texts(run, 0)[0] == "import"


def test_the_mean_is_taken_prompt_by_prompt():
    values = xr.DataArray([[1.0, 3.0, 5.0], [9.0, np.nan, np.nan]], dims=("prompt", "token"))
    assert float(mean_prompt_by_prompt(values, ())) == 6.0  # of 3 and 9, not of four tokens


def test_means_over_pairs_leave_comparisons_with_itself_out(run, token_run):
    table = mean_over_pairs(run, "mismatch_swapped", k=3, norm=1)
    expected = run.mismatch_swapped.sel(k=3, norm=1).mean("prompt")
    assert table.dims == ("block", "other_block")
    assert np.isnan(table.values.diagonal()).all()
    assert np.allclose(table.values[0, 1:], expected.values[0, 1:])
    tokens = mean_over_pairs(token_run, "mismatch", k=3, block=1)
    assert tokens.dims == ("token", "other_token")
    assert np.isnan(tokens.values.diagonal()).all()


def test_variants_are_named_as_everywhere():
    assert variant_suffix(variant_of()) == ""
    assert variant_suffix(variant_of(signed=True, swapped=True)) == ", swapped signed"


def test_prompts_without_detail_are_refused(deep_run, run):
    one = run.isel(detailed_prompt=[1])
    assert detailed_index(one, "projection", "grid", None) == 0
    assert detailed_index(one, "projection", "grid", 1) == 0
    with pytest.raises(
        CouplingError, match=r"prompt 0 has no projection: the run kept it for prompts 1; .*`detail='all'"
    ):
        detailed_index(one, "projection", "grid", 0)
    with pytest.raises(CouplingError, match="no prompt 7"):
        detailed_index(one, "projection", "grid", 7)
    with pytest.raises(CouplingError, match=r"contains no projection, which the picture grid draws; .*`detail='all'`"):
        detailed_index(run.drop_vars("projection"), "projection", "grid", None)
