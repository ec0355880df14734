"""Scores by category and by number of prompts, against the formulas and against independent draws."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import coupling
from coupling.errors import CouplingError
from coupling.prompt_effects import by_category, error_curve, prompts_needed


def made(mismatch, categories=None) -> xr.Dataset:
    """A run of two blocks whose prompts have these mismatches, and chance at 1."""
    count = len(mismatch)
    pairs = np.ones((count, 1, 2, 2, 2)) * np.asarray(mismatch, float)[:, None, None, None, None]
    dims = ("prompt", "k", "norm", "block", "other_block")
    run = xr.Dataset(
        {"mismatch": (dims, pairs), "chance": (dims, np.ones_like(pairs))},
        {"prompt": range(count), "k": [5], "norm": [1, 2], "block": [0, 1], "other_block": [0, 1]},
    )
    return run if categories is None else run.assign(category=("prompt", categories))


def test_categories_by_hand():
    run = made([0.9, 0.8, 0.7, 0.5], ["b", "b", "b", "a"])
    a, b = by_category(run)
    assert (a["category"], a["prompts"], a["standard_error"], a["low"]) == ("a", 1, None, None)
    assert a["excess"] == pytest.approx(0.5)
    assert b["excess"] == pytest.approx(0.2)
    assert b["standard_error"] == pytest.approx(0.1 / np.sqrt(3))
    low, high = stats.t.interval(0.95, 2, loc=0.2, scale=0.1 / np.sqrt(3))
    assert (b["low"], b["high"]) == pytest.approx((low, high))


def test_a_run_without_categories_has_none(measured):
    assert by_category(measured) == []
    with pytest.raises(CouplingError, match="not measured at K = 7"):
        by_category(made([0.5, 0.6], ["a", "a"]), k=7)


def test_the_curve_is_the_error_of_a_mean():
    values = np.random.default_rng(1).normal(0.8, 0.1, 40)
    curve = error_curve(made(values), counts=(4, 25, 100), resamples=4000)
    assert [row["prompts"] for row in curve] == [4, 25, 100]
    for row in curve:  # chance is 1, so the excess is a mean, whose error is known
        expected = values.std() / np.sqrt(row["prompts"])
        assert row["standard_error"] == pytest.approx(expected, rel=5 / np.sqrt(2 * 4000))
    assert curve == error_curve(made(values), counts=(4, 25, 100), resamples=4000)


@pytest.mark.parametrize("mismatch", [[0.5], [0.5, 0.6], [0.5, np.nan, 0.4]])
def test_too_few_prompts_have_no_curve(mismatch):
    assert error_curve(made(mismatch)) == []


def test_equal_prompts_need_no_number():
    curve = error_curve(made([0.5] * 5))
    assert prompts_needed(curve) == []
    assert prompts_needed([]) == []


def test_numbers_between_and_beyond_the_curve():
    curve = [{"prompts": 10, "standard_error": 0.02}, {"prompts": 40, "standard_error": 0.01}]
    found = prompts_needed(curve, errors=(0.04, 0.02, 0.02 / 2**0.5, 0.01, 0.001))
    assert [row["prompts"] for row in found] == [3, 10, 20, 40, 4000]


def test_the_bundled_prompts_have_categories():
    run = coupling.analyze(k=2, limit=5)
    assert run.category.values.tolist() == ["facts", "arithmetic", "code", "common sense", "facts"]
    summary = coupling.summarize(run)
    assert [row["category"] for row in summary["categories"]] == ["arithmetic", "code", "common sense", "facts"]
    assert summary["categories"][3]["prompts"] == 2
    assert len(summary["prompt_count"]["curve"]) == 8
    assert summary["prompt_count"]["needed"][0]["standard_error"] == 0.01


def test_a_file_s_column_of_categories_reaches_the_run(tmp_path):
    file = tmp_path / "prompts.csv"
    file.write_text("prompt,category\nimport os,code\nHello,3\n")
    run = coupling.analyze(prompts=str(file), k=2)
    assert run.category.values.tolist() == ["code", "3"]
