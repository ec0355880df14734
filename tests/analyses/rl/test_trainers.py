"""TRL's trainers as a run builds them."""

from dataclasses import replace
from pathlib import Path

import pytest
from trl import GRPOConfig, GRPOTrainer

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.evaluation import PassAtK
from coupling.analyses.rl.processes import AgreedRewards
from coupling.analyses.rl.trainers import build_trainer, generation_window, measure_initial, set_up
from coupling.rl import CouplingCallback, P3OConfig, P3OTrainer
from coupling.rl.ess_logging import EssLogging, RatioToBehavior

SMALL = {"max_steps": 2, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 4}


def make_config(model="m", trainer=(), **changes):
    content = {"model": str(model), "data": {"task": "brackets", "limit": 16}, "trainer": SMALL | dict(trainer)}
    return from_mapping(content | changes)


def test_the_classes_of_each_objective():
    p3o, grpo = (set_up(make_config(objective=objective)) for objective in ("p3o", "grpo"))
    assert p3o.config_class is P3OConfig
    assert p3o.trainer_class.__mro__[1:4] == (PassAtK, AgreedRewards, P3OTrainer)
    assert not issubclass(p3o.trainer_class, EssLogging)  # P3O logs these itself
    assert grpo.config_class is GRPOConfig
    assert grpo.trainer_class.__mro__[1:5] == (PassAtK, AgreedRewards, EssLogging, GRPOTrainer)
    own_rollouts = set_up(make_config(objective="grpo"), rollout_func=lambda *_: None)
    assert issubclass(own_rollouts.trainer_class, RatioToBehavior)


def test_a_reward_that_does_not_exist_is_refused_first():
    with pytest.raises(CouplingError, match="there is no reward 'nonsense'"):
        set_up(make_config(reward="nonsense"))


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({}, 1),
        ({"num_iterations": 2}, 2),
        ({"gradient_accumulation_steps": 2}, 1),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 8}, 4),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 8, "num_iterations": 3}, 12),
    ],
)
def test_the_window_is_the_number_of_steps_between_generations(trainer, steps):
    assert generation_window(set_up(make_config(trainer=trainer)), Path("unused")) == steps


def test_settings_that_trl_refuses_are_one_line():
    setup = set_up(make_config(trainer={"num_generations": 3}))
    with pytest.raises(CouplingError, match=r"the trainer settings are refused: .*num_generations"):
        generation_window(setup, Path("unused"))


def test_a_trainer_has_the_seed_and_the_probe(small_model, tmp_path):
    setup = set_up(make_config(small_model, probe={"every": 2, "k": 4, "count": 1}))
    trainer = build_trainer(setup, 7, tmp_path)
    assert (trainer.args.seed, trainer.args.output_dir) == (7, str(tmp_path))
    (probe,) = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, CouplingCallback)]
    measured = []
    probe.measure = lambda model, tokenizer: measured.append((model, tokenizer))
    measure_initial(trainer)
    assert measured == [(trainer.model, trainer.processing_class)]
    without = build_trainer(set_up(make_config(small_model, probe={"every": 0})), 7, tmp_path)
    assert not any(isinstance(callback, CouplingCallback) for callback in without.callback_handler.callbacks)


TOOLS = '''
def search(query: str) -> str:
    """Search.

    Args:
        query: what to search for.
    """
    return query

class Game:
    def reset(self, **_):
        return None
'''


def test_tools_an_environment_and_the_overlong_penalty_reach_trl(small_model, tmp_path):
    (tmp_path / "my_tools_one.py").write_text(TOOLS)
    config = make_config(
        small_model,
        tools="my_tools_one:search",
        environment="my_tools_one:Game",
        overlong_buffer=2,
        trainer={"max_completion_length": 4},
    )
    setup = set_up(config, rewards_folder=tmp_path)
    given = {}

    class Trainer:
        def __init__(self, **arguments):
            given.update(arguments)
            raise ValueError("seen")

    with pytest.raises(CouplingError, match="seen"):
        build_trainer(replace(setup, trainer_class=Trainer), 0, tmp_path)
    assert [tool.__name__ for tool in given["tools"]] == ["search"]
    assert given["environment_factory"].__name__ == "Game"
    rewards = given["reward_funcs"]
    assert [reward.__name__ for reward in rewards] == ["exact", "overlong"]
    found = rewards[1](completions=["", ""], completion_ids=[[0] * 2, [0] * 4], trainer_state=None)
    assert found == [0.0, -1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tools": "search"}, "the tool 'search' is not of the form module:function"),
        ({"environment": "json:nothing"}, "contains no function nothing, named by the environment json:nothing"),
        ({"overlong_buffer": 9}, "overlong_buffer is 9, but must be from 1 to trainer.max_completion_length, 4"),
    ],
)
def test_refused_tools_and_penalties(changes, message):
    with pytest.raises(CouplingError, match=message):
        set_up(make_config(**changes))
