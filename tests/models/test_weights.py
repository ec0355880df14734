"""Weights that are missing or not finite are refused by name."""

import json
import shutil
from importlib.metadata import version

import pytest
import torch
from packaging.version import Version
from safetensors.torch import load_file, save_file

from coupling.errors import CouplingError
from coupling.models.blocks import find_blocks
from coupling.models.loading import load
from coupling.models.weights import check_weights
from tests.helpers import BUNDLED, make_model


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


NOT_FLOATS = [
    (torch.int8, "I8: integers"),
    (torch.int64, "I64: integers"),
    (torch.uint8, "U8: integers"),
    (torch.bool, "BOOL: truth values"),
    (torch.complex64, "C64: complex numbers"),
]


@pytest.mark.parametrize(("dtype", "words"), NOT_FLOATS)
@pytest.mark.parametrize("form", ["safetensors", "sharded", "bin"])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path, dtype, words, form):
    """transformers would convert them without a word."""
    if dtype is torch.complex64 and form != "bin" and Version(version("safetensors")) < Version("0.7"):
        # the file cannot be written; the newest version runs this, and "bin" has the same numbers in every version
        pytest.skip("this version of safetensors cannot write complex numbers")
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    state = load_file(folder / "model.safetensors")
    key = next(key for key in state if "layers.3.mlp.up_proj" in key)
    state[key] = (8 * state[key]).to(dtype)
    if form == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    else:
        name = "model.safetensors" if form == "safetensors" else "part.safetensors"
        (folder / "model.safetensors").unlink()
        save_file(state, folder / name, metadata={"format": "pt"})
    if form == "sharded":
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": dict.fromkeys(state, name)})
        )
    words = words.partition(": ")[2] if form == "bin" else words
    with pytest.raises(CouplingError, match=rf"layers\.3\.mlp\.up_proj\.weight of .*model is stored as .*{words}"):
        load(str(folder), allow_pickle=form == "bin")


def test_integers_that_are_no_parameters_are_not_in_the_way(tmp_path):
    """A buffer of positions, as older checkpoints have it."""
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    state = load_file(folder / "model.safetensors") | {"model.position_ids": torch.arange(4)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    load(str(folder))
