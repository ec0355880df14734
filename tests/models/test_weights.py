"""Weights that are missing or not finite are refused by name."""

import pytest
import torch

from coupling.errors import CouplingError
from coupling.models.blocks import find_blocks
from coupling.models.weights import check_weights
from tests.helpers import make_model


def test_reports_of_transformers():
    model = make_model("llama")
    name, blocks = find_blocks(model)
    check_weights("m", model, name, blocks, {"missing_keys": ["lm_head.weight"]})
    with pytest.raises(CouplingError, match=r"lack 1 parameters .* norm.weight"):
        check_weights("m", model, name, blocks, {"missing_keys": ["norm.weight"]})
    with pytest.raises(CouplingError, match=r"contain block 3 .* has 3 blocks"):
        check_weights("m", model, name, blocks, {"unexpected_keys": ["model.layers.3.x"]})
    with pytest.raises(CouplingError, match=r"x of m has the shape \(2,\), but its configuration says \(3,\)"):
        check_weights("m", model, name, blocks, {"mismatched_keys": [("x", torch.Size([2]), torch.Size([3]))]})


def test_weights_that_are_not_finite():
    model = make_model("llama")
    name, blocks = find_blocks(model)
    with torch.no_grad():
        model.norm.weight[0] = torch.nan
    with pytest.raises(CouplingError, match=r"NaN or an infinity \(parameter norm.weight\)"):
        check_weights("m", model, name, blocks, {})
    with torch.no_grad():
        blocks[1].mlp.up_proj.weight[0, 0] = torch.inf
    with pytest.raises(CouplingError, match="block 1 contain a NaN"):
        check_weights("m", model, name, blocks, {})
