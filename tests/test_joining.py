"""Prompts joined into a run, and taken out of it again."""

import numpy as np
import pytest

import coupling
from coupling.errors import CouplingError
from coupling.joining import join_prompts, split_prompt
from coupling.netcdf import to_bytes
from tests.helpers import make_ids, make_model


@pytest.fixture(scope="module")
def singles():
    model = make_model("llama")
    runs = [coupling.measure(model, make_ids(seed, tokens), k=(2, 3)) for seed, tokens in ((0, 5), (1, 7), (2, 6))]
    parts = []
    for run in runs:
        part = split_prompt(run, 0)
        part["token_text"] = (("token",), [f"t{10**at}" for at in range(part.sizes["token"])])
        parts.append(part)
    return parts


def test_shorter_prompts_are_padded(singles):
    run = join_prompts(iter(singles), first=4)
    assert run.prompt.values.tolist() == [4, 5, 6]
    assert run.sizes["token"] == 7
    assert np.isnan(run.line_shape_score[0, 5:]).all()
    assert run.token_text.values[0].tolist() == ["t1", "t10", "t100", "t1000", "t10000", "", ""]
    assert np.isnan(run.residual_stream[2, 6]).all()
    for at, part in enumerate(singles):
        assert np.array_equal(run.mismatch[at], part.mismatch)
        assert np.array_equal(run.expodistance[at, : part.sizes["token"]], part.expodistance)


@pytest.mark.parametrize("detailed", [(0, 1, 2), (0,), ()])
def test_splitting_is_the_inverse(singles, detailed):
    large = ["projection", "residual_stream"]
    parts = [part if at in detailed else part.drop_vars(large) for at, part in enumerate(singles)]
    run = join_prompts(parts)
    assert run.sizes.get("detailed_prompt", 0) == len(detailed)
    run.attrs["model"] = "of the run, not of a prompt"
    again = [split_prompt(run, at) for at in range(3)]
    assert again[0].attrs == parts[0].attrs
    assert to_bytes(join_prompts(again)) == to_bytes(join_prompts(parts))


def test_engines_are_named_together_and_other_differences_are_left_out(singles):
    first, second = singles[0].assign_attrs(engine="dense", x=1), singles[1].assign_attrs(engine="matrix-free", x=2)
    run = join_prompts([first, second])
    assert run.attrs["engine"] == "dense+matrix-free"
    assert "x" not in run.attrs


def test_other_blocks_are_refused(singles):
    other = singles[1].assign_coords(block=[5, 6, 7])
    with pytest.raises(CouplingError, match="input 1 has another block than those before it"):
        join_prompts([singles[0], other])
