"""Reward functions by name, with checks: values that a trainer would silently accept stop the run with a message."""

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
    """A built-in reward, or a function named ``module:function``; modules in the current folder are found as well.

    Raises:
        CouplingError: if there is no reward of that name, or its module cannot be imported.

    Example:
        >>> find_reward("exact")(["12"], ["12"])
        [1.0]
    """
    if name in REWARDS:
        return REWARDS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise CouplingError(
            f"there is no reward {name!r}; give one of {', '.join(REWARDS)}, or module:function, "
            "such as my_rewards:score"
        )
    function = getattr(_import(module_name, name), function_name, None)
    if not callable(function):
        raise CouplingError(
            f"the module {module_name} contains no function {function_name}, named by the reward {name}"
        )
    return function


def checked_reward(name: str, function: Reward, *, only_one: bool) -> Reward:
    """A reward function with its results checked; its errors name the reward and the step.

    Args:
        name: what messages call it.
        function: a function of TRL's signature: ``prompts``, ``completions``, the data's columns and ``trainer_state``
            by keyword. It returns one number per completion, or None where it does not apply.
        only_one: whether the run has no other reward, so that None would leave a completion without any reward.

    Returns:
        A function of the same signature. It raises CouplingError if the number of rewards is wrong, a reward is not a
        finite number, or ``function`` raised an exception.
    """

    def step_of(columns: dict[str, Any]) -> str:
        state = columns.get("trainer_state")
        return f"step {state.global_step + 1}" if state is not None else "the first step"

    def failure(step: str, error: Exception) -> CouplingError:
        return CouplingError(f"{step}: the reward {name} raised {type(error).__name__}: {first_line(error)}")

    if inspect.iscoroutinefunction(function):

        async def reward_async(completions: Sequence[Any], **columns: Any) -> list[float | None]:
            step = step_of(columns)
            try:
                rewards = await function(completions=completions, **columns)
            except Exception as error:  # a user's function may raise anything
                raise failure(step, error) from error
            return _check_rewards(rewards, len(completions), f"{step}: the reward {name}", only_one)

        reward_async.__name__ = name
        return reward_async

    def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        step = step_of(columns)
        try:
            rewards = function(completions=completions, **columns)
        except Exception as error:  # a user's function may raise anything
            raise failure(step, error) from error
        return _check_rewards(rewards, len(completions), f"{step}: the reward {name}", only_one)

    reward.__name__ = name
    return reward


def _import(module: str, reward: str) -> Any:
    """A module of the current folder or of any other place that Python searches."""
    folder = os.getcwd()
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise CouplingError(
            f"cannot import the module {module} of the reward {reward}: {type(error).__name__}: {first_line(error)}"
        ) from None
    finally:
        if added:
            sys.path.remove(folder)


def _check_rewards(rewards: Any, count: int, subject: str, only_one: bool) -> list[float | None]:
    """The rewards of ``count`` completions as numbers; ``subject`` begins every message."""
    try:
        rewards = list(rewards)
    except TypeError:
        raise CouplingError(f"{subject} returned {type(rewards).__name__}, but must return a list of numbers") from None
    if len(rewards) != count:
        raise CouplingError(f"{subject} returned {len(rewards)} rewards for {count} completions")
    return [
        None if reward is None and not only_one else _check_number(reward, f"{subject} returned", index)
        for index, reward in enumerate(rewards)
    ]


def _check_number(reward: Any, subject: str, index: int) -> float:
    try:
        number = float(reward)
    except (TypeError, ValueError):
        raise CouplingError(f"{subject} {reward!r} for completion {index}, which is not a number") from None
    if not math.isfinite(number):
        raise CouplingError(f"{subject} {number} for completion {index}, but a reward must be finite")
    return number
