"""Which folders are checkpoints, and which are complete."""

import json
import shutil
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.analyses.rl.checkpoint_folders import find_checkpoints, pairs_of, read_object, step_of


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
        "iter000010_v000010": "incomplete: training_state.json does not contain global_step",
        "iter000011_v000011": "incomplete: CHECKPOINT_COMPLETE is missing, so writing it was interrupted",
        "logs": "there is no checkpoint in it: no folder with config.json and weights",
        "checkpoint-5": "incomplete: config.json is missing",
        "checkpoint-6": "an adapter whose adapter_config.json names no model; merge it into its model first",
        "checkpoint-7": "there is no tokenizer in it or in a folder above it",
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
    with pytest.raises(CouplingError, match=r"trainer/checkpoint-1: incomplete: config.json is missing"):
        find_checkpoints(tmp_path / "run")
    with pytest.raises(CouplingError, match=r"nothing is not of the form STEP=PATH; give one folder .* or such a"):
        find_checkpoints(["1=a", "nothing"])
    shutil.copytree(feynrl_run / "iter000002_v000002", feynrl_run / "checkpoint-16")
    with pytest.raises(CouplingError, match="both checkpoints of step 16"):
        find_checkpoints(feynrl_run)


def test_a_file_without_an_object_is_empty(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    assert read_object(tmp_path / "list.json") == read_object(tmp_path / "nowhere.json") == {}


LAYOUTS = {
    "trl": ("checkpoint-{}", [10, 200]),
    "trl, several runs up": ("run-3/trainer/checkpoint-{}", [10, 200]),
    "verl": ("global_step_{}/actor/huggingface", [5, 10]),
    "openrlhf": ("global_step{}_hf", [20, 40]),
    "ms-swift": ("v0-20250101-120000/checkpoint-{}", [50, 100]),
    "prime-rl": ("weights/step_{}", [10, 20]),
    "by its last number": ("policy_{}", [1, 2]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_other_programs(layout, tmp_path):
    pattern, steps = LAYOUTS[layout]
    for step in steps:
        make_checkpoint(tmp_path / "run7" / pattern.format(step))
    checkpoints, skipped = find_checkpoints(tmp_path / "run7")
    assert [(item.step, item.name) for item in checkpoints] == [(step, pattern.format(step)) for step in steps]
    assert skipped == []


def test_what_is_deeper_or_inside_a_checkpoint_or_a_link_is_not_looked_at(tmp_path):
    make_checkpoint(tmp_path / "a" / "b" / "c" / "step_1")
    make_checkpoint(tmp_path / "step_2")
    make_checkpoint(tmp_path / "step_2" / "critic" / "step_9")
    (tmp_path / "latest").symlink_to(tmp_path / "step_2")
    (tmp_path / "log.txt").write_text("")
    checkpoints, skipped = find_checkpoints(tmp_path)
    assert {item.step for item in checkpoints} == {2}
    assert [item.name for item in skipped] == ["a"]


def test_a_folder_that_is_a_checkpoint_is_one(tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint-30")
    (checkpoint,), _ = find_checkpoints(folder)
    assert (checkpoint.step, checkpoint.name) == (30, "checkpoint-30")


def test_pairs_give_the_steps_that_paths_do_not(tmp_path):
    first, last = make_checkpoint(tmp_path / "first"), make_checkpoint(tmp_path / "last")
    checkpoints, skipped = find_checkpoints([f"400={last}", f"0={first}", f"7={tmp_path}/nowhere"])
    assert [(item.step, item.folder) for item in checkpoints] == [(0, first), (400, last)]
    assert [item.reason for item in skipped] == ["there is no such folder"]
    _, skipped = find_checkpoints([f"3={first}", f"4={last}"])
    assert skipped == []
    with pytest.raises(CouplingError, match="first: its path does not contain a number"):
        find_checkpoints(first)


def test_without_a_number_in_the_path_the_step_is_that_of_trl_s_state(tmp_path):
    for name, step in (("final", 7), ("step_3", 9)):
        folder = make_checkpoint(tmp_path / name)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    checkpoints, skipped = find_checkpoints(tmp_path)
    assert ([(item.step, item.name) for item in checkpoints], skipped) == ([(3, "step_3"), (7, "final")], [])


def test_a_folder_whose_name_looks_like_a_pair_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_checkpoint(tmp_path / "1=run" / "checkpoint-5")
    assert pairs_of("1=run") is None
    (checkpoint,), _ = find_checkpoints("1=run")
    assert checkpoint.step == 5


def test_weights_of_verl_that_have_to_be_merged(tmp_path):
    folder = make_checkpoint(tmp_path / "global_step_3" / "actor" / "huggingface", weights=False)
    (folder.parent / "model_world_size_8_rank_0.pt").write_text("")
    with pytest.raises(CouplingError, match="merge them with verl's model merger"):
        find_checkpoints(tmp_path)


def test_the_step_is_the_number_that_is_called_one():
    root = Path("run-9")
    for path, step in (("step_10/model-7b", 10), ("epoch3", 3), ("2/x", 2), ("a", None), ("iteration-4_v2", 4)):
        assert step_of(root / path, root) == step
