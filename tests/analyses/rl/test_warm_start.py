"""The supervised start of the tasks' small model."""

import json
import os

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from coupling import CouplingError
from coupling.analyses.rl.tasks import TASKS, task
from coupling.analyses.rl.warm_start import cache_folder, one_thread, sampled_reward, warm_start
from coupling.locking import LOCK, locked


def test_the_warm_start_is_deterministic_and_kept(tmp_path):
    first, second = (warm_start("brackets", steps=3, cache=tmp_path / name) for name in ("a", "b"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert warm_start("brackets", steps=3, cache=tmp_path / "a") == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before
    assert 3e5 < json.loads((first / "warm_start.json").read_text())["parameters"] < 1e6
    tokenizer = AutoTokenizer.from_pretrained(first)
    assert tokenizer.decode(tokenizer.encode("12+3=")) == "12+3="
    assert tokenizer.padding_side == "left"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in ("old", "young", "locked"):
        (tmp_path / f".training-{name}").mkdir()
        (tmp_path / f".training-{name}" / "model.safetensors").write_text("half")
    with locked(tmp_path / ".training-locked"):
        for name in ("old", "locked"):
            os.utime(tmp_path / f".training-{name}", (0, 0))
        trained = warm_start("brackets", steps=1, cache=tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {trained.name, ".training-young", ".training-locked"}
    assert not (trained / LOCK).exists()


def test_the_reward_is_measured_as_it_was_when_training_ended(small_model):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(small_model), AutoTokenizer.from_pretrained(small_model)
    state = torch.random.get_rng_state()
    saved = json.loads((small_model / "warm_start.json").read_text())["reward"]
    assert sampled_reward(model, tokenizer, task("brackets")) == saved
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CouplingError, match="cannot keep the model of task brackets in"):
        warm_start("brackets", steps=1, cache=tmp_path / "file" / "cache")


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "block-coupling"


def test_one_thread_restores_the_number_of_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_warm_start_leaves_a_reward_between_flat_and_done(name):
    assert 0.08 < json.loads((warm_start(name) / "warm_start.json").read_text())["reward"] < 0.5
