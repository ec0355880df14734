"""Which folders are checkpoints, and which are complete."""

import json
import shutil
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.analyses.rl.checkpoint_folders import find_checkpoints, read_object


def make_checkpoint(folder: Path, *, tokenizer: bool = True, weights: bool = True) -> Path:
    """The files that are looked for, without content."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if weights:
        (folder / "model.safetensors").write_text("")
    if tokenizer:
        (folder / "tokenizer.json").write_text("{}")
    return folder


def test_trls_checkpoints_in_order_of_their_steps(tmp_path):
    for step in (10, 9, 100):
        make_checkpoint(tmp_path / f"checkpoint-{step}", tokenizer=step != 9)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    checkpoints, skipped = find_checkpoints(tmp_path)
    assert [checkpoint.step for checkpoint in checkpoints] == [9, 10, 100]
    assert [checkpoint.tokenizer for checkpoint in checkpoints] == [
        tmp_path,
        tmp_path / "checkpoint-10",
        tmp_path / "checkpoint-100",
    ]
    assert skipped == []


def test_feynrls_checkpoints_have_the_step_of_their_state(feynrl_run):
    checkpoints, skipped = find_checkpoints(feynrl_run)
    assert [(item.folder.name, item.step) for item in checkpoints] == [
        ("iter000002_v000002", 16),
        ("iter000010_v000010", 80),
        ("iter000011_v000011", 88),
    ]
    assert skipped == []


def test_folders_that_are_not_complete_checkpoints_have_a_reason(feynrl_run):
    (feynrl_run / "iter000011_v000011" / "CHECKPOINT_COMPLETE").unlink()
    (feynrl_run / "iter000010_v000010" / "training_state.json").write_text("{}")
    (feynrl_run / "logs").mkdir()
    (feynrl_run / "checkpoint-5").mkdir()
    (feynrl_run / "checkpoint-6").mkdir()
    (feynrl_run / "checkpoint-6" / "adapter_config.json").write_text("{}")
    make_checkpoint(feynrl_run / "checkpoint-7", tokenizer=False)
    make_checkpoint(feynrl_run / "checkpoint-8", weights=False)
    (make_checkpoint(feynrl_run / "checkpoint-9", weights=False) / "adapter").mkdir()
    checkpoints, skipped = find_checkpoints(feynrl_run)
    assert [checkpoint.step for checkpoint in checkpoints] == [16]
    assert {item.folder.name: item.reason for item in skipped} == {
        "iter000010_v000010": "incomplete: training_state.json gives no global_step",
        "iter000011_v000011": "incomplete: CHECKPOINT_COMPLETE is missing, so writing it was interrupted",
        "logs": "not a checkpoint by its name (checkpoint-STEP, iterEPOCH_vVERSION)",
        "checkpoint-5": "incomplete: config.json is missing",
        "checkpoint-6": "an adapter whose adapter_config.json names no model; merge it into its model first",
        "checkpoint-7": "there is no tokenizer in it or in its parent folder",
        "checkpoint-8": "incomplete: the weights are missing",
        "checkpoint-9": "an adapter without the model's weights; merge it into them first",
    }


def test_an_adapter_names_its_model(tmp_path):
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "organization/name"}))
    (folder / "adapter_model.safetensors").write_text("")
    (folder / "tokenizer.json").write_text("{}")
    (checkpoint,), _ = find_checkpoints(tmp_path)
    assert checkpoint.base == "organization/name"


def test_refusals(tmp_path, feynrl_run):
    with pytest.raises(CouplingError, match="cannot read the folder"):
        find_checkpoints(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CouplingError, match=r"no checkpoint to measure .*checkpoint-100"):
        find_checkpoints(tmp_path / "empty")
    (tmp_path / "run" / "trainer" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(CouplingError, match=r"there are checkpoints in .*run/trainer: give one of these folders"):
        find_checkpoints(tmp_path / "run")
    shutil.copytree(feynrl_run / "iter000002_v000002", feynrl_run / "checkpoint-16")
    with pytest.raises(CouplingError, match="both checkpoints of step 16"):
        find_checkpoints(feynrl_run)


def test_a_file_without_an_object_is_empty(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    assert read_object(tmp_path / "list.json") == read_object(tmp_path / "nowhere.json") == {}
