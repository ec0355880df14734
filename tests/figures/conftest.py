"""Runs that pictures are drawn from: the bundled checkpoint, trained and untrained, and one that compares tokens."""

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

import coupling

PROMPTS = ["import os\nimport sys", "def main():\n    return 0", "The $cost$ is <b>5</b>"]


@pytest.fixture(scope="session")
def run():
    return coupling.analyze(prompts=PROMPTS, k=(3, 5))


@pytest.fixture(scope="session")
def untrained():
    return coupling.analyze(prompts=PROMPTS, k=(3, 5), random_weights=True)


@pytest.fixture(scope="session")
def token_run():
    return coupling.analyze(prompts=["for name in names:\n    print(name, file=sys.stderr)\n"], k=(3,), kind="self")


@pytest.fixture(scope="session")
def deep_run():
    """32 blocks, K up to 50, 28 prompts (one was measured)."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=32,
                         num_attention_heads=4, num_key_value_heads=4)  # fmt: skip
    measured = coupling.measure(LlamaModel(config).eval(), torch.arange(12)[None], k=(10, 50))
    return measured.isel(prompt=[0] * 28).assign_coords(prompt=range(28))
