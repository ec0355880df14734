"""The model that a run begins from: which is refused before anything is trained."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.initial import check_initial_weights, initial_model


def initial(model: object) -> str:
    return initial_model(from_mapping({"data": {"task": "brackets"}, "model": str(model)}), 0)


@pytest.fixture
def copied(small_model, tmp_path) -> Path:
    return Path(shutil.copytree(small_model, tmp_path / "model"))


def test_the_initial_model(small_model):
    assert initial(small_model) == str(small_model)
    assert initial("organization/name") == "organization/name"
    with pytest.raises(CouplingError, match=r"no checkpoint in \./nowhere"):
        initial("./nowhere")


def test_a_model_without_whole_weights_is_refused(copied):
    weights = copied / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(CouplingError, match="truncated or corrupt"):
        initial(copied)
    weights.unlink()
    with pytest.raises(CouplingError, match="contains no weights"):
        initial(copied)
    torch.save({}, copied / "pytorch_model.bin")
    with pytest.raises(CouplingError, match=r"of the form bin, and RL begins from safetensors: a pickle"):
        initial(copied)


def test_weights_that_would_be_random_are_refused(copied):
    check_initial_weights(str(copied), {})
    weights = load_file(copied / "model.safetensors")
    lost = [name for name in weights if ".layers.2." in name]
    save_file({name: weights[name] for name in weights if name not in lost}, copied / "model.safetensors")
    with pytest.raises(CouplingError, match=rf"lack {len(lost)} parameters .*layers\.2\..*nothing is trained"):
        check_initial_weights(str(copied), {})


def test_weights_of_another_shape_are_refused(copied):
    weights = load_file(copied / "model.safetensors")
    name = next(name for name in weights if "up_proj" in name)
    save_file(weights | {name: weights[name][:-1].clone()}, copied / "model.safetensors")
    with pytest.raises(CouplingError, match=r"up_proj.* has the shape .*but its configuration says"):
        check_initial_weights(str(copied), {})


def test_a_model_that_cannot_be_loaded_is_left_to_its_loading():
    check_initial_weights("organization/name", {})
