"""What a configuration may contain, and the one line for everything else."""

import math
import os
from pathlib import Path

import pytest
from trl import GRPOConfig

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping, read_config
from coupling.analyses.rl.data import read_rows
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
        (DATA | {"objective": "ppo"}, ["'ppo'", "p3o, p4o, grpo, dapo, cispo"]),
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
    with pytest.raises(CouplingError, match=r"run\.yaml is not YAML: .*\(line 2\)"):
        read_config(path)
    path.write_bytes(b"\xff\xff")
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


def test_files_that_blow_up_are_refused_in_a_short_line(tmp_path):
    path = tmp_path / "run.yaml"
    bomb = "".join(f" - &a{i} [{','.join([f'*a{i - 1}' if i else 'x'] * 10)}]\n" for i in range(9))
    path.write_text(f"model: task\ndata: {{task: brackets}}\nname:\n{bomb}")
    with pytest.raises(CouplingError, match="values once its aliases are written out") as refusal:
        read_config(path)
    assert len(str(refusal.value)) < 500
    path.write_text("#" * 2_000_000)
    with pytest.raises(CouplingError, match=r"at most 1,048,576"):
        read_config(path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(CouplingError, match="is a named pipe"):
        read_config(tmp_path / "pipe.yaml")


@pytest.mark.parametrize(
    "content",
    [
        {"data": {"task": "addition"}, "x\x1b[31m" * 1000: 1},
        {"data": {"task": "addition"}, "objective": "\x1b]0;title\x07" * 1000},
        {"data": {"task": "addition"}, "name": ["\x1b[2J"] * 10_000},
        {"data": {"task": "addition"}, "seed": -(10**4000)},
        {"data": {"task": "addition"}, "probe": {"k": [-1] * 10_000}},
        {"data": {"task": "\x1b[2J" * 1000}},
    ],
)
def test_what_a_message_quotes_is_short_and_plain(content):
    with pytest.raises(CouplingError) as refusal:
        read_rows(from_mapping(content).data)
    assert len(str(refusal.value)) < 600
    assert str(refusal.value).isprintable()


def test_the_time_of_a_reward_is_a_positive_number():
    assert from_mapping(DATA | {"reward_timeout": 2}).reward_timeout == 2
    assert from_mapping(DATA).reward_timeout is None
    for wrong in (0, -1.0, math.inf, math.nan, "long", True):
        with pytest.raises(CouplingError, match="reward_timeout is"):
            from_mapping(DATA | {"reward_timeout": wrong})
