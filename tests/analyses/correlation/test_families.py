"""Families of models, from their names and from their architectures."""

import pytest

from coupling.analyses.correlation.families import families_of, family_of


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("EleutherAI/pythia-160m-deduped", "pythia"),
        ("Qwen/Qwen1.5-0.5B", "qwen1.5"),
        ("gpt2-large", "gpt2"),
        ("meta-llama/Llama-2-7b-hf", "llama-2"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral"),
        ("bigscience/bloom-1b1", "bloom"),
        ("stabilityai/stablelm-2-1_6b", "stablelm-2"),
    ],
)
def test_families_from_names(name, family):
    assert family_of(name) == family
    assert families_of([name], ["SomeModel"]) == [family]


def test_families_from_configurations():
    assert families_of(["microsoft/phi-2"], ["PhiModel"]) == ["PhiModel"]
    assert families_of(["microsoft/phi-2"], [""]) == ["phi-2"]


def test_a_name_without_a_size_joins_the_family_of_that_name():
    names = ["openai-community/gpt2", "gpt2-large", "bigscience/bloom", "bloom-560m", "opt 1.3b"]
    assert families_of(names, ["GPT2Model"] * 5) == ["gpt2", "gpt2", "bloom", "bloom", "opt"]
