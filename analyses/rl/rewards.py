"""Reward functions by name, watched: what a trainer would pass over in silence stops the run with one message."""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from coupling.analyses.rl.tasks import REWARDS
from coupling.errors import CouplingError, first_line

Reward = Callable[..., Any]


def find_reward(name: str) -> Reward:
    """A built-in reward, or a function named ``module:function``; the current folder's modules are found too.

    Raises:
        CouplingError: if there is none of that name, or its module cannot be imported.
    """
    if name in REWARDS:
        return REWARDS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise CouplingError(
            f"there is no reward {name!r}; give one of {', '.join(REWARDS)}, or module:function, "
            "such as my_rewards:score"
        )
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise CouplingError(
            f"cannot import the module {module_name} of the reward {name}: {type(error).__name__}: {first_line(error)}"
        ) from None
    finally:
        if added:
            sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise CouplingError(f"the module {module_name} holds no function {function_name}, named by the reward {name}")
    return function


def watched(name: str, function: Reward, *, alone: bool) -> Reward:
    """The function with its rewards checked; its errors name it and the step.

    Args:
        name: what messages call it.
        function: of TRL's signature: ``prompts``, ``completions``, the data's columns and ``trainer_state`` by
            keyword; returns a number a completion, or None where it does not apply.
        alone: whether it is the only one, so that None would leave a completion without any reward.

    Returns:
        A function of the same signature that raises CouplingError if the rewards are too few or many, not finite, no
        numbers, or not there because the function raised.
    """

    def step_of(state: Any) -> str:
        return f"step {state.global_step + 1}" if state is not None else "the first step"

    def checked(rewards: Any, count: int, at: str) -> list[float | None]:
        try:
            rewards = list(rewards)
        except TypeError:
            raise CouplingError(
                f"{at}: the reward {name} returned {type(rewards).__name__}, but must return a list of numbers"
            ) from None
        if len(rewards) != count:
            raise CouplingError(f"{at}: the reward {name} returned {len(rewards)} rewards for {count} completions")
        numbers: list[float | None] = []
        for index, reward in enumerate(rewards):
            if reward is None and not alone:
                numbers.append(None)
                continue
            try:
                numbers.append(float(reward))
            except (TypeError, ValueError):
                raise CouplingError(
                    f"{at}: the reward {name} returned {reward!r} for completion {index}, which is no number"
                ) from None
            if not math.isfinite(float(reward)):
                raise CouplingError(
                    f"{at}: the reward {name} returned {float(reward)} for completion {index}, "
                    "but a reward must be finite"
                )
        return numbers

    def failed(at: str, error: Exception) -> CouplingError:
        return CouplingError(f"{at}: the reward {name} raised {type(error).__name__}: {first_line(error)}")

    if inspect.iscoroutinefunction(function):

        async def reward_async(completions: Sequence[Any], **columns: Any) -> list[float | None]:
            at = step_of(columns.get("trainer_state"))
            try:
                rewards = await function(completions=completions, **columns)
            except Exception as error:
                raise failed(at, error) from error
            return checked(rewards, len(completions), at)

        reward_async.__name__ = name
        return reward_async

    def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        at = step_of(columns.get("trainer_state"))
        try:
            rewards = function(completions=completions, **columns)
        except Exception as error:
            raise failed(at, error) from error
        return checked(rewards, len(completions), at)

    reward.__name__ = name
    return reward
