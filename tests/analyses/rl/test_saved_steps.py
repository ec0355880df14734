"""Which checkpoints a run can continue from, and what the others lack."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coupling.analyses.rl.saved_steps import lacking_weights, saved_steps
from tests.tiny_policy import make_policy

FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


def save(out: Path, step: int, max_steps: int = 6) -> Path:
    folder = out / f"checkpoint-{step}"
    folder.mkdir()
    save_file({"weight": torch.zeros(4)}, folder / "model.safetensors")
    for name in FILES:
        torch.save({"a": torch.zeros(3)}, folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": max_steps}))
    return folder


def test_complete_checkpoints_in_order(tmp_path):
    for step in (10, 2, 6):
        save(tmp_path, step, max_steps=10)
    (tmp_path / "other").mkdir()
    saved = saved_steps(tmp_path)
    assert [item.step for item in saved] == [2, 6, 10]
    assert [item.is_resumable(4) for item in saved] == [False, False, True]
    assert [item.is_resumable(2) for item in saved] == [True, True, True]
    assert saved_steps(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("optimizer.pt", "the state of the optimizer"),
        ("scheduler.pt", "the state of the learning rate's schedule"),
        ("rng_state.pth", "the state of the random numbers"),
        ("model.safetensors", "the weights"),
        ("trainer_state.json", "trainer_state.json, which is written last"),
    ],
)
def test_what_is_missing_is_named(tmp_path, name, words):
    folder = save(tmp_path, 2)
    (folder / "training_args.bin").write_bytes(b"")  # no weights, though it looks like them
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    (saved,) = saved_steps(tmp_path)
    assert saved.lacks.startswith(words)
    assert not saved.is_resumable(1)
    file.write_bytes(content[: len(content) // 2])
    (saved,) = saved_steps(tmp_path)
    assert saved.lacks
    file.write_bytes(content)
    assert saved_steps(tmp_path)[0].lacks == ""


def test_after_the_last_step_only_the_weights_are_needed(tmp_path):
    folder = save(tmp_path, 6)
    for name in FILES:
        (folder / name).unlink()
    assert saved_steps(tmp_path)[0].is_resumable(4)


def test_every_process_needs_its_random_numbers(tmp_path):
    folder = save(tmp_path, 2)
    torch.save({}, folder / "rng_state_0.pth")
    assert "rng_state_1.pth" in saved_steps(tmp_path, processes=2)[0].lacks
    torch.save({}, folder / "rng_state_1.pth")
    assert saved_steps(tmp_path, processes=2)[0].lacks == ""


def test_fp16_needs_the_scale_of_the_loss(tmp_path):
    folder = save(tmp_path, 2)
    assert "scaler.pt" in saved_steps(tmp_path, fp16=True)[0].lacks
    torch.save({}, folder / "scaler.pt")
    assert saved_steps(tmp_path, fp16=True)[0].lacks == ""


def test_a_shard_that_is_missing_is_named(tmp_path):
    folder = save(tmp_path, 2)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert saved_steps(tmp_path)[0].lacks == "the weights in model-00002-of-00002.safetensors"


def test_weights_that_a_checkpoint_lacks(tmp_path):
    model = make_policy()
    model.save_pretrained(tmp_path / "whole")
    assert lacking_weights(model, tmp_path / "whole") == ""
    assert lacking_weights(model, tmp_path) == ""  # nothing that is known
    state = load_file(tmp_path / "whole" / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "layers.1" not in name}
    save_file(kept, tmp_path / "whole" / "model.safetensors")
    assert re.fullmatch(
        rf"9 of the model's {len(model.state_dict())} tensors, such as model\.layers\.1\..*",
        lacking_weights(model, tmp_path / "whole"),
    )


def test_tied_weights_are_stored_once(tmp_path):
    model = make_policy(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert lacking_weights(model, tmp_path) == ""


def test_adapters_that_a_checkpoint_lacks(tmp_path):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(make_policy(), peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path)
    assert lacking_weights(model, tmp_path) == ""
    state = load_file(tmp_path / "adapter_model.safetensors")
    lost = next(iter(state))
    save_file({name: tensor for name, tensor in state.items() if name != lost}, tmp_path / "adapter_model.safetensors")
    assert lacking_weights(model, tmp_path) == f"1 of the model's {len(state)} tensors, such as {lost}"
