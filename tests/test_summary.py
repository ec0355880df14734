"""Scores, and the summary of a run, against means taken by hand."""

import numpy as np
import pytest
import scipy
import torch
import xarray as xr

import coupling
from tests.helpers import make_ids, make_model


def test_the_score_is_the_mean_over_ordered_pairs_of_distinct_blocks():
    run = coupling.measure(make_model("llama"), [make_ids(0), make_ids(1)], k=4)
    m = run.mismatch.sel(k=4, norm=2).values
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    by_hand = np.mean([np.mean([1 - m[p, a, b] for a, b in pairs]) for p in range(2)])
    assert coupling.score(run, k=4, norm=2) == pytest.approx(by_hand)
    assert np.allclose(np.diagonal(m, axis1=1, axis2=2), 0, atol=1e-5)


def test_the_score_of_self_leaves_out_a_token_with_itself():
    run = coupling.measure(make_model("llama"), make_ids(), k=4, kind="self", tokens=(1, 4))
    m = run.mismatch.sel(k=4, norm=2)
    by_hand = 1 - np.mean([m.sel(token=1, other_token=4), m.sel(token=4, other_token=1)])
    assert coupling.score(run, k=4, norm=2) == pytest.approx(by_hand)


def test_a_trained_model_is_beyond_chance_and_an_untrained_one_is_not(bundled_run):
    from importlib.resources import files

    import transformers

    config = transformers.AutoConfig.from_pretrained(files("coupling") / "data/checkpoint")
    torch.manual_seed(0)
    untrained = transformers.AutoModel.from_config(config, dtype=torch.float32)
    random = coupling.summarize(coupling.measure(untrained, make_ids(0, 20), k=10))["scores"]
    trained = coupling.summarize(bundled_run)["scores"]
    excess = {name: next(r["excess"] for r in rows if r["norm"] == 2 and r["variant"] == "absolute")
              for name, rows in (("trained", trained), ("untrained", random))}  # fmt: skip
    assert excess["trained"] > 0.02
    assert abs(excess["untrained"]) < 0.02


@pytest.fixture(scope="module")
def bundled_run() -> xr.Dataset:
    return coupling.analyze(prompts=["def mean(values):\n    return sum(values) /", "import os\nfor name in os."], k=10)


def test_the_difference_of_the_excess_is_paired_by_prompt(run, untrained):
    row = coupling.compare_runs(untrained, run)["scores"][-3]
    k, norm = row["k"], row["norm"]
    m = [one.mismatch.sel(k=k, norm=norm).mean(("block", "other_block")).values for one in (untrained, run)]
    assert row["excess_difference"] == pytest.approx(row["second"]["excess"] - row["first"]["excess"])
    assert row["excess_standard_error"] > 0
    t = row["excess_difference"] / row["excess_standard_error"]
    assert row["excess_p"] == pytest.approx(2 * scipy.stats.t.sf(abs(t), len(m[0]) - 1))


def test_runs_of_different_prompts_are_compared_on_those_that_both_measured(run, untrained):
    shorter = untrained.isel(prompt=[2, 0]).assign_attrs(prompts_hash="other")
    found = coupling.compare_runs(run, shorter)
    assert (found["same_prompts"], found["shared_prompts"]) == (False, 2)
    assert found["provenance"]["prompts_hash"] == [run.attrs["prompts_hash"], "other"]
    same = coupling.compare_runs(run.isel(prompt=[0, 2]), untrained.isel(prompt=[0, 2]))
    assert found["scores"] == same["scores"]
    assert found["scores"][0]["standard_error"] is not None
    apart = coupling.compare_runs(run.isel(prompt=[0, 1]), untrained.isel(prompt=[2]).assign_attrs(prompts_hash="b"))
    assert apart["shared_prompts"] is None
    assert apart["scores"][0]["standard_error"] is None
