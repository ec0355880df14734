"""Rewards of several processes: one verdict for all of them."""

import asyncio
import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from coupling import CouplingError
from coupling.analyses.rl import processes
from coupling.analyses.rl.processes import AgreedRewards, gather_from_all, is_main_process, is_only_process

FINE, EMPTY = ["a", ""], ["", [{"role": "assistant", "content": " "}]]


class Base:
    """What the mix-in needs of TRL's trainers."""

    state = SimpleNamespace(global_step=4)

    def __init__(self, *functions):
        self.reward_funcs = list(functions)
        self.model = SimpleNamespace(training=True)
        self._metrics = {"train": defaultdict(list)}

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        outcomes = [function(completions=completions) for function in self.reward_funcs]
        columns = [asyncio.run(outcome) if asyncio.iscoroutine(outcome) else outcome for outcome in outcomes]
        return torch.tensor([[math.nan if value is None else value for value in column] for column in columns]).T


class Trainer(AgreedRewards, Base):
    pass


def lengths(completions):
    return [float(len(text)) for text in completions]


def fails(completions):
    raise CouplingError("step 5: the reward fails raised OSError: disk")


async def fails_later(completions):
    raise CouplingError("step 5: later")


def calculate(completions, *functions, others=(), monkeypatch=None):
    if others:
        monkeypatch.setattr(processes, "gather_from_all", lambda value: [value, *others])
    trainer = Trainer(*functions)
    try:
        return trainer._calculate_rewards([], [], completions, [])
    finally:
        assert trainer.reward_funcs == list(functions)


def test_the_only_process():
    assert gather_from_all(3) == [3]
    assert calculate(FINE, lengths).tolist() == [[1.0], [0.0]]
    with pytest.raises(CouplingError, match="fails raised OSError: disk"):
        calculate(FINE, lengths, fails)
    with pytest.raises(CouplingError, match="step 5: later"):
        calculate(FINE, lengths, fails_later)
    with pytest.raises(CouplingError, match="step 5: all 2 completions are empty"):
        calculate(EMPTY, fails)  # the cause, not the error of a reward function that follows from it


def test_what_fails_elsewhere_fails_here(monkeypatch):
    with pytest.raises(CouplingError, match="their words"):
        calculate(FINE, lengths, others=[(["their words"], 0, 2)], monkeypatch=monkeypatch)


def test_completions_are_empty_only_where_those_of_all_processes_are(monkeypatch):
    rewards = calculate(EMPTY, lambda completions: [0.0], others=[([], 0, 2)], monkeypatch=monkeypatch)
    assert rewards.tolist() == [[0.0]]
    with pytest.raises(CouplingError, match="all 5 completions are empty"):
        calculate(EMPTY, lambda completions: [0.0], others=[([], 3, 3)], monkeypatch=monkeypatch)


def test_a_completion_that_no_function_rewards_ends_the_run():
    def some(completions):
        return [None, 2.0]

    assert calculate(FINE, lengths, some)[:, 0].tolist() == [1.0, 0.0]
    with pytest.raises(CouplingError, match="step 5: 1 of 2 completions got no reward"):
        calculate(FINE, some, some)


def test_the_share_of_empty_completions_over_all_processes_is_logged(monkeypatch):
    monkeypatch.setattr(processes, "gather_from_all", lambda value: [value, ([], 1, 6)])
    trainer = Trainer(lengths)
    trainer._calculate_rewards([], [], FINE, [])
    assert trainer._metrics["train"]["completions/empty"] == [0.25]


def test_the_main_process_is_the_one_without_a_rank(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert is_main_process()
    assert is_only_process()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_main_process()
    assert not is_only_process()
