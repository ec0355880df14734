"""What a configuration may contain, and the one line for everything else."""

from pathlib import Path

import pytest
from trl import GRPOConfig

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping, read_config
from coupling.analyses.rl.rewards import find_reward
from coupling.analyses.rl.trainer_settings import trainer_settings

DATA = {"data": {"task": "addition"}}
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path):
    config = read_config(path)
    assert set(trainer_settings(config, GRPOConfig, accelerator=True)) >= {"max_steps", "learning_rate"}
    assert [find_reward(name) for name in config.reward]
    assert {path.name for path in EXAMPLES} == {"addition.yaml", "gsm8k.yaml"}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([], ["is not a mapping", "objective"]),
        ({}, ["there is no data"]),
        (DATA | {"objektive": "grpo"}, ["no key objektive", "did you mean objective?", "the known keys are data"]),
        ({"data": {"task": "addition", "color": 1}}, ["no key data.color", "the known keys are task"]),
        ({"data": {"task": "addition", "file": "x.csv"}}, ["exactly one of", "task, file"]),
        (DATA | {"probe": {"every": "often"}}, ["probe.every is 'often'", "whole number"]),
        (DATA | {"probe": {"every": True}}, ["probe.every is True"]),
        (DATA | {"probe": {"k": [0]}}, ["probe.k"]),
        (DATA | {"objective": "ppo"}, ["'ppo'", "p3o, grpo, dapo, cispo"]),
        (DATA | {"reward": []}, ["names no function"]),
        (DATA | {"reward": [3]}, ["reward is [3]"]),
        (DATA | {"seed": -1}, ["seed is -1"]),
        (DATA | {"trainer": "fast"}, ["trainer is 'fast'", "a mapping"]),
        ({"data": {"file": "x.csv"}}, ["data names no task"]),
        ({"data": {"task": "addition", "system": "Add."}}, ["data.system applies only with"]),
    ],
)
def test_refusals(content, parts):
    with pytest.raises(CouplingError) as refusal:
        from_mapping(content, "run.yaml")
    for part in ("run.yaml: ", *parts):
        assert part in str(refusal.value)


def test_files_that_are_not_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    with pytest.raises(CouplingError, match="cannot read"):
        read_config(path)
    path.write_text("data: [\n")
    with pytest.raises(CouplingError, match=r"run\.yaml, line 2, is not YAML"):
        read_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CouplingError, match="is not UTF-8 text"):
        read_config(path)


def test_texts_must_be_texts():
    for wrong in ({"reward": [{"a": "b"}]}, {"probe": {"prompts": [{"a": 1}]}}):
        with pytest.raises(CouplingError, match="must be texts"):
            from_mapping({"data": {"task": "brackets"}} | wrong)


def test_a_reward_that_compares_needs_answers():
    with pytest.raises(CouplingError, match=r"the reward exact compares with the right answer, but data\.answer names"):
        from_mapping({"data": {"task": "brackets", "answer": None}})


def test_a_configuration_survives_as_dict():
    config = from_mapping(DATA | {"probe": {"k": 5, "prompts": ["a", "b"]}, "name": "mine"})
    assert config.run_name == "mine"
    assert from_mapping(config.as_dict()) == config
