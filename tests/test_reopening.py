"""A saved run's checkpoint and inputs are found again, and refused where they have changed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import coupling
from coupling.errors import CouplingError
from coupling.reopening import reopen
from tests.helpers import BUNDLED

TEXTS = ["import os, sys", "def main():"]


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled checkpoint, with a run of it."""
    shutil.copytree(BUNDLED, tmp_path / "model")
    coupling.analyze(str(tmp_path / "model"), prompts=TEXTS, k=2, out=tmp_path / "run")
    return tmp_path


def test_the_prompt_is_the_one_that_was_measured(folder):
    known = reopen(folder / "run", 1)
    assert known.inputs[0].name == TEXTS[1]
    assert len(known.modules) == known.run.sizes["block"]
    assert known.inputs[0].digest() == json.loads((folder / "run" / "run.json").read_text())["inputs_hashes"][1]


def test_random_weights_are_drawn_again(tmp_path):
    coupling.analyze(prompts=TEXTS[:1], k=2, random_weights=True, seed=4, out=tmp_path / "run")
    known = reopen(tmp_path / "run", 0)
    assert known.run.attrs["weights"] == "random"


def test_runs_of_version_0_1_are_read(tmp_path):
    run = Path(__file__).parent / "fixtures/runs/0.1.0/depth"
    assert reopen(run, 1).inputs[0].name == str(coupling.open_run(run).prompt_text.values[1])


def test_other_weights_are_refused(folder):
    file = folder / "model" / "model.safetensors"
    state = load_file(file)
    name = next(name for name in state if name.endswith("down_proj.weight"))
    state[name] = state[name] + torch.ones_like(state[name])
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(CouplingError, match=r"the weights of .*model have changed since the run was measured"):
        reopen(folder / "run", 0)


def test_another_prompt_is_refused(folder):
    path = folder / "run" / "run.json"
    summary = json.loads(path.read_text())
    summary["inputs_hashes"][0] = "0" * 64
    path.write_text(json.dumps(summary))
    with pytest.raises(CouplingError, match=r"prompt 0 of the run in .* is not the one that was measured"):
        reopen(folder / "run", 0)
    with pytest.raises(CouplingError, match="there is no prompt 2"):
        reopen(folder / "run", 2)


def test_a_checkpoint_that_is_gone_is_one_line(folder):
    shutil.rmtree(folder / "model")
    with pytest.raises(CouplingError):
        reopen(folder / "run", 0)
