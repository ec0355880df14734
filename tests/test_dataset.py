"""The labeled Dataset: dimensions, padding, means over pairs."""

import numpy as np
import pytest

import coupling
from tests.helpers import make_ids, make_model


def test_layout():
    prompts = [make_ids(0, 5), make_ids(1, 9)]
    run = coupling.measure(make_model("llama"), prompts, k=(4, 2, 4), detail="none")
    assert run.mismatch.dims == run.chance.dims == ("prompt", "k", "norm", "block", "other_block")
    assert run.singular_values.dims == run.singular_value_error.dims == ("prompt", "block", "rank")
    assert run.line_shape_score.dims == run.expodistance.dims == ("prompt", "token")
    assert run.residual_norm.dims == ("prompt", "token", "layer")
    assert run.left_angle.dims == ("prompt", "k", "block", "other_block", "rank")
    assert dict(run.sizes) == {
        "prompt": 2, "k": 2, "norm": 2, "block": 3, "other_block": 3, "rank": 4, "token": 9, "layer": 4,
    }  # fmt: skip
    assert run.k.values.tolist() == [2, 4]
    assert run.n_tokens.values.tolist() == [5, 9]
    assert run.measured_token.values.tolist() == [4, 8]
    assert np.isnan(run.residual_norm[0, 5:]).all()
    assert np.isfinite(run.residual_norm[1]).all()
    for key in ("model", "revision", "commit_hash", "weights_hash", "dtype", "device", "seed", "engine",
                "package_version"):  # fmt: skip
        assert key in run.attrs


def test_several_tokens_get_an_axis():
    model, ids = make_model("llama"), make_ids()
    run = coupling.measure(model, ids, k=4, tokens=(3, -1))
    assert run.mismatch.dims == ("prompt", "token", "k", "norm", "block", "other_block")
    single = coupling.measure(model, ids, k=4, tokens=3)
    assert np.allclose(run.mismatch.sel(token=3), single.mismatch, rtol=0, atol=1e-6)
    both = (coupling.score(single, 4) + coupling.score(coupling.measure(model, ids, k=4), 4)) / 2
    assert coupling.score(run, 4) == pytest.approx(both)


def test_a_prompt_measures_the_same_in_any_company():
    model = make_model("llama")
    alone = coupling.measure(model, make_ids(0, 5), k=4)
    together = coupling.measure(model, [make_ids(1, 9), make_ids(0, 5)], k=4)
    assert np.array_equal(alone.mismatch[0], together.mismatch[1])
    assert np.array_equal(alone.expodistance[0], together.expodistance[1, :5])
