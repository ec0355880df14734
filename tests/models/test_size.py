"""Absurd configurations are refused before anything is built."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from transformers import AlbertConfig, GPT2Config, LlamaConfig

from coupling.errors import CouplingError
from coupling.models.folder import Found
from coupling.models.loading import load
from coupling.models.size import check_counts, check_size, least_parameters, memory_of, stored_numbers
from tests.helpers import ARCHITECTURES, BUNDLED, make_model


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_it_is_a_lower_bound(name):
    model = make_model(name)
    assert 0 <= least_parameters(model.config) <= sum(parameter.numel() for parameter in model.parameters())


def test_published_models_are_within_bounds():
    llama_405b = LlamaConfig(
        hidden_size=16384, intermediate_size=53248, num_hidden_layers=126, num_attention_heads=128, vocab_size=128256
    )
    assert 2.8e11 < least_parameters(llama_405b) < 4.1e11
    check_counts(llama_405b.to_dict() | {"max_position_embeddings": 10**12, "num_experts_per_tok": 8}, "a")
    albert = AlbertConfig(hidden_size=4096, intermediate_size=16384, num_attention_heads=64)  # its 12 layers are one
    assert least_parameters(albert) < 2.3e8
    for config in (GPT2Config(n_layer=1000), LlamaConfig(num_hidden_layers=2)):
        check_counts(config.to_dict(), "a")


@pytest.mark.parametrize(
    "content",
    [
        {"num_hidden_layers": 10**7},
        {"n_layer": 10**7},
        {"text_config": {"num_hidden_layers": 10**12}},
        {"num_experts": 10**6},
        {"encoder_layers": 10**5},
        {"hidden_size": 10**30},
        {"vocab_size": 10**12},
        {"n_layers": float("inf")},
    ],
)
def test_absurd_counts(content):
    with pytest.raises(CouplingError, match=r"the configuration of a says \w+ = .*, and at most [\d,]+ are supported"):
        check_counts(content, "a")


def test_more_than_the_memory():
    wide = LlamaConfig(hidden_size=102_400, intermediate_size=400_000, num_hidden_layers=200)
    with pytest.raises(CouplingError, match=r"at least [\d,.]+ billion parameters, .* and the machine has \d+ GiB"):
        check_size("a", wide, None, torch.float32, "cpu")
    assert memory_of("cpu") > 2**29
    assert memory_of("meta") is None


def test_far_more_than_the_weights():
    found = Found(Path(BUNDLED), "safetensors", (Path(BUNDLED) / "model.safetensors",))
    assert stored_numbers(found) == sum(parameter.numel() for parameter in load().model.parameters())
    wide = LlamaConfig(
        hidden_size=8192, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=1, head_dim=32
    )
    with pytest.raises(CouplingError, match="they are not this configuration's"):
        check_size("a", wide, found, torch.float32, "cpu")


@pytest.mark.parametrize("random_weights", [None, 0])
@pytest.mark.parametrize("change", [{"num_hidden_layers": 10**7}, {"hidden_size": 100_000}, {"head_dim": 10**6}])
def test_absurd_checkpoints_are_refused_at_once(tmp_path, change, random_weights):
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = {} if random_weights is None else {"intermediate_size": 10**8}
    (folder / "config.json").write_text(json.dumps(config | change | size))
    before = time.process_time()
    with pytest.raises(CouplingError, match=r"the configuration of .*model"):
        load(str(folder), random_weights=random_weights)
    assert time.process_time() - before < 5
