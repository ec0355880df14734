"""What every output says of the run that its numbers come from."""

import pytest

import coupling
from coupling.facts import counted, facts_of, tokens_of


@pytest.fixture(scope="module")
def run():
    return coupling.analyze(prompts=["import os", "def main():"], k=(3, "5%"))


def test_a_usual_run(run):
    assert facts_of(run) == [
        "LlamaModel", "8 blocks", "2 prompts (texts)", "kind depth", "last token", "K = 3 and 6 = 5% of width 128",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"weights": "random"}, "random weights"),
        ({"weights_format": "gguf Q4_K_M"}, "weights rounded to Q4_K_M (gguf)"),
        ({"weights_format": "safetensors, fp8"}, "quantized weights (fp8)"),
        ({"adapter": "org/lora", "base": "org/base"}, "adapter org/lora on org/base"),
        ({"part": "vision"}, "part vision"),
        ({"preset": "paper"}, "preset paper"),
        ({"chat": 1}, "chat template"),
        ({"special_tokens": 0}, "no special tokens"),
        ({"measured_place": "class token"}, "class token"),
    ],
)
def test_what_is_unusual_is_said(run, attributes, said):
    assert said in facts_of(run.assign_attrs(attributes))
    assert said not in facts_of(run)


def test_weights_that_are_not_rounded_go_without_saying(run):
    assert facts_of(run.assign_attrs(weights_format="gguf F16")) == facts_of(run)


def test_tokens():
    one = coupling.analyze(prompts=["import os, sys"], k=3, tokens=1)
    assert tokens_of(one) == "token 1"
    several = coupling.analyze(prompts=["import os, sys"], k=3, kind="context-output", tokens=(0, 1, 2), fixed_token=2)
    assert tokens_of(several) == "3 tokens with fixed token 2"
    uneven = coupling.analyze(prompts=["import os", "import os, sys"], k=3, kind="self")
    counts = uneven.n_tokens.values
    assert tokens_of(uneven) == f"{counts.min()} to {counts.max()} tokens"
    assert counted(1, "prompt") == "1 prompt"
