"""Rewards by name, and rewards that stop a run."""

import asyncio
import dataclasses
import time
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.analyses.rl.rewards import checked_reward, find_reward


def test_rewards_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_scores.py").write_text("def score(completions, **_):\n    return [1.0] * len(completions)\n")
    Path("broken_scores.py").write_text("import no_such_module\n")
    assert find_reward("my_scores:score")(["a"]) == [1.0]
    for name, part in (
        ("nonsense", "exact, number"),
        ("my_scores:other", "no function other"),
        ("broken_scores:score", "ModuleNotFoundError"),
    ):
        with pytest.raises(CouplingError, match=part):
            find_reward(name)


@pytest.mark.parametrize(
    ("returned", "part"),
    [
        ([1.0, float("nan")], "returned nan for completion 1"),
        ([float("inf"), 0], "returned inf for completion 0"),
        ([1.0], "returned 1 rewards for 2 completions"),
        ([1.0, None], "returned None for completion 1"),
        ([1.0, "good"], "returned 'good' for completion 1, which is not a number"),
        (None, "returned NoneType"),
    ],
)
def test_results_that_are_not_rewards(returned, part):
    async def later(completions, **_):
        return returned

    arguments = {"completions": ["a", "b"], "trainer_state": dataclasses.make_dataclass("State", ["global_step"])(6)}
    reward = checked_reward("mine", lambda completions, **_: returned, only_one=True)
    with pytest.raises(CouplingError, match=rf"step 7: the reward mine {part}"):
        reward(**arguments)
    asynchronous = checked_reward("mine", later, only_one=True)
    with pytest.raises(CouplingError, match=rf"step 7: the reward mine {part}"):
        asyncio.run(asynchronous(**arguments))


def test_none_is_for_rewards_beside_others():
    reward = checked_reward("mine", lambda completions, **_: [1, None], only_one=False)
    assert reward(completions=["a", ""], trainer_state=None) == [1.0, None]
    assert reward.__name__ == "mine"


def test_an_exception_names_the_reward():
    def fails(completions, **_):
        raise OSError("disk")

    reward = checked_reward("mine", fails, only_one=True)
    with pytest.raises(CouplingError, match="the first step: the reward mine raised OSError: disk"):
        reward(completions=["a"])


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(), GeneratorExit("x")])
def test_a_reward_that_would_end_the_program_is_an_error(error):
    def fails(completions, **_):
        raise error

    async def fails_later(completions, **_):
        raise error

    for function, run in ((fails, lambda reward: reward(completions=["a"])),
                          (fails_later, lambda reward: asyncio.run(reward(completions=["a"])))):  # fmt: skip
        with pytest.raises(CouplingError, match=f"the reward mine raised {type(error).__name__}"):
            run(checked_reward("mine", function, only_one=True))


def test_an_interruption_by_the_user_stays_one():
    def interrupted(completions, **_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked_reward("mine", interrupted, only_one=True)(completions=["a"])


def test_a_reward_that_hangs_ends_after_its_time():
    def hangs(completions, **_):
        try:
            time.sleep(60)
        except Exception:  # as careless code does
            return [1.0]

    async def hangs_later(completions, **_):
        await asyncio.sleep(60)

    message = r"the first step: the reward mine took longer than reward_timeout, 0\.2 seconds"
    with pytest.raises(CouplingError, match=message):
        checked_reward("mine", hangs, only_one=True, seconds=0.2)(completions=["a"])
    with pytest.raises(CouplingError, match=message):
        asyncio.run(checked_reward("mine", hangs_later, only_one=True, seconds=0.2)(completions=["a"]))


def test_a_timeout_of_the_reward_itself_is_its_own():
    def own(completions, **_):
        raise TimeoutError("the server")

    with pytest.raises(CouplingError, match="raised TimeoutError: the server"):
        checked_reward("mine", own, only_one=True, seconds=30)(completions=["a"])
