"""What a run may be asked for, and the one line for everything else."""

import dataclasses
from pathlib import Path

import pytest
from trl import GRPOConfig

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping, read_config
from coupling.analyses.rl.data import read_rows
from coupling.analyses.rl.demo import demo_config
from coupling.analyses.rl.rewards import find_reward, watched
from coupling.analyses.rl.trainer_settings import trainer_settings
from coupling.rl import P3OConfig

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
        ([], ["does not hold a mapping", "objective"]),
        ({}, ["there is no data"]),
        (DATA | {"objektive": "grpo"}, ["no key objektive", "did you mean objective?", "known: data"]),
        ({"data": {"task": "addition", "color": 1}}, ["no key data.color", "known: task"]),
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
        ({"data": {"task": "addition", "system": "Add."}}, ["data.system belongs to"]),
    ],
)
def test_refusals(content, parts):
    with pytest.raises(CouplingError) as refusal:
        from_mapping(content, "run.yaml")
    for part in ("run.yaml: ", *parts):
        assert part in str(refusal.value)


def test_trainer_settings_are_checked_against_trl():
    def settings(**trainer):
        return trainer_settings(from_mapping(DATA | {"trainer": trainer}), GRPOConfig, accelerator=False)

    assert settings(learning_rate=1e-3)["learning_rate"] == 1e-3
    assert settings()["use_cpu"] is True
    with pytest.raises(CouplingError, match=r"trainer\.learning_rat \(did you mean learning_rate\?\).*max_steps"):
        settings(learning_rat=1e-3)
    with pytest.raises(CouplingError, match=r"trainer\.loss_type cannot be set: objective chooses it"):
        settings(loss_type="grpo")


def test_yaml_that_is_none(tmp_path):
    path = tmp_path / "run.yaml"
    with pytest.raises(CouplingError, match="cannot read"):
        read_config(path)
    path.write_text("data: [\n")
    with pytest.raises(CouplingError, match=r"run\.yaml, line 2, is not YAML"):
        read_config(path)


def test_the_demo_takes_every_objective():
    assert demo_config("cispo").objective == "cispo"
    assert demo_config(task="addition", seed=4).seed == 4


def test_data_from_files_and_chat(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "1+1=", "a": "2", "level": 1}\n{"q": "2+2=", "a": "4", "level": 2}\n')
    (tmp_path / "rows.csv").write_text("prompt,answer\n1+1=,2\n")

    def rows(**data):
        return read_rows(from_mapping({"data": data, "model": "m"}).data)

    loaded = rows(file=str(tmp_path / "rows.jsonl"), prompt="q", answer="a", limit=1)
    assert loaded[:] == {"prompt": ["1+1="], "answer": ["2"], "level": [1]}
    said = rows(file=str(tmp_path / "rows.csv"), chat=True, system="Add.")[0]["prompt"]
    assert [message["role"] for message in said] == ["system", "user"]
    with pytest.raises(CouplingError, match=r"no column 'question'.*data\.prompt.*q, a, level"):
        rows(file=str(tmp_path / "rows.jsonl"), prompt="question")
    with pytest.raises(CouplingError, match="there is no file"):
        rows(file=str(tmp_path / "other.csv"))
    with pytest.raises(CouplingError, match="cannot load the data set nobody/nothing"):
        rows(dataset="nobody/nothing")
    (tmp_path / "empty.csv").write_text('prompt,answer\n" ",2\n')
    with pytest.raises(CouplingError, match=r"row 0 .* empty prompt"):
        rows(file=str(tmp_path / "empty.csv"))


def test_rewards_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_scores.py").write_text("def score(completions, **_):\n    return [1.0] * len(completions)\n")
    Path("broken_scores.py").write_text("import no_such_module\n")
    assert find_reward("my_scores:score")(["a"]) == [1.0]
    for name, part in (("nonsense", "exact, number"), ("my_scores:other", "no function other"),
                       ("broken_scores:score", "ModuleNotFoundError")):  # fmt: skip
        with pytest.raises(CouplingError, match=part):
            find_reward(name)


@pytest.mark.parametrize(
    ("returned", "part"),
    [
        ([1.0, float("nan")], "returned nan for completion 1"),
        ([float("inf"), 0], "returned inf for completion 0"),
        ([1.0], "returned 1 rewards for 2 completions"),
        ([1.0, None], "returned None for completion 1"),
        ([1.0, "good"], "returned 'good' for completion 1"),
        (None, "returned NoneType"),
    ],
)
def test_rewards_that_are_none(returned, part):
    state = dataclasses.make_dataclass("State", ["global_step"])(6)
    reward = watched("mine", lambda completions, **_: returned, alone=True)
    with pytest.raises(CouplingError, match=rf"step 7: the reward mine {part}"):
        reward(completions=["a", "b"], trainer_state=state)


def test_none_is_for_rewards_beside_others():
    reward = watched("mine", lambda completions, **_: [1, None], alone=False)
    assert reward(completions=["a", ""], trainer_state=None) == [1.0, None]
    assert reward.__name__ == "mine"


def test_numbers_that_yaml_reads_as_text_are_numbers():
    config = from_mapping({"data": {"task": "brackets"}, "trainer": {"learning_rate": "1e-4", "max_steps": 3}})
    settings = trainer_settings(config, GRPOConfig, accelerator=False)
    assert settings["learning_rate"] == 1e-4
    config = from_mapping({"data": {"task": "brackets"}, "trainer": {"learning_rate": "fast"}})
    with pytest.raises(CouplingError, match="learning_rate is 'fast', but must be a number"):
        trainer_settings(config, GRPOConfig, accelerator=False)


def test_p3o_refuses_a_clip_range_even_at_its_default():
    config = from_mapping({"objective": "p3o", "data": {"task": "brackets"}, "trainer": {"epsilon": 0.2}})
    with pytest.raises(CouplingError, match="epsilon means nothing in p3o"):
        trainer_settings(config, P3OConfig, accelerator=False)


def test_texts_are_texts():
    for wrong in ({"reward": [{"a": "b"}]}, {"probe": {"prompts": [{"a": 1}]}}):
        with pytest.raises(CouplingError, match="must be texts"):
            from_mapping({"data": {"task": "brackets"}} | wrong)


@pytest.mark.parametrize(("setting", "said"), [
    ({"per_device_train_batch_size": 0}, "trainer.per_device_train_batch_size is 0, but must be a whole number of at"),
    ({"num_iterations": 0}, "trainer.num_iterations is 0"), ({"max_steps": 0}, "trainer.max_steps is 0, but must be"),
    ({"max_steps": True}, "trainer.max_steps is True"), ({"save_steps": 0}, "save_steps is 0, but must be more than 0"),
    ({"beta": -1.0}, "trainer.beta is -1.0, but must be 0 or more"),
    ({"learning_rate": -1.0}, "trainer.learning_rate is -1.0, but must be 0 or more"),
    ({"temperature": 0}, "trainer.temperature is 0, but must be more than 0"),
    ({"resume_from_checkpoint": "x"}, "--resume goes on from the last one"),
    ({"eval_strategy": "steps"}, "a run has no data to evaluate on"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused_before_anything_is_loaded(setting, said):
    from trl import GRPOConfig

    config = from_mapping({"data": {"task": "brackets"}, "trainer": setting})
    with pytest.raises(CouplingError, match=said):
        trainer_settings(config, GRPOConfig, accelerator=False)


def test_a_reward_that_compares_needs_answers():
    with pytest.raises(CouplingError, match=r"the reward exact compares with the right answer, and data\.answer names"):
        from_mapping({"data": {"task": "brackets", "answer": None}})
