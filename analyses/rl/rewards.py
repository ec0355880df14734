"""Reward functions by name, with checks: values that a trainer would silently accept stop the run with a message."""

import asyncio
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coupling.analyses.rl.reward_modules import find_object
from coupling.analyses.rl.tasks import REWARDS
from coupling.analyses.rl.time_limit import TimeLimitError, time_limit
from coupling.errors import CouplingError, first_line
from coupling.untrusted import quoted

Reward = Callable[..., Any]


def find_reward(name: str, *, folder: str | Path = ".", trust: bool = False) -> Reward:
    """A built-in reward, or a function named ``module:function``.

    Args:
        name: the reward's name.
        folder: see ``import_reward_module``.
        trust: see ``import_reward_module``.

    Raises:
        CouplingError: if there is no reward of that name, or its module is not trusted or cannot be imported.

    Example:
        >>> find_reward("exact")(["12"], ["12"])
        [1.0]
    """
    if name in REWARDS:
        return REWARDS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise CouplingError(
            f"there is no reward {quoted(name)}; give one of {', '.join(REWARDS)}, or module:function, "
            "such as my_rewards:score"
        )
    return find_object(name, "the reward", folder=folder, trust=trust)


def overlong_penalty(longest: int, buffer: int) -> Reward:
    """TRL's soft penalty of long completions: 0 up to ``buffer`` tokens before the end, then linearly down to -1.

    Args:
        longest: the largest number of tokens of a completion, which is what a truncated one has.
        buffer: the number of tokens over which the penalty grows.

    Source: Yu et al., *DAPO*, 2025 (arXiv 2503.14476), section 3.4.

    Example:
        >>> overlong_penalty(10, 4)(completions=["", "", ""], completion_ids=[[0] * 6, [0] * 8, [0] * 10])
        [0.0, -0.5, -1.0]
    """
    from trl.rewards.other_rewards import get_soft_overlong_punishment

    penalty = get_soft_overlong_punishment(longest, buffer)

    def overlong(completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [float(value) for value in penalty(completion_ids=completion_ids)]

    return overlong


def checked_reward(name: str, function: Reward, *, only_one: bool, seconds: float | None = None) -> Reward:
    """A reward function with its results checked; its errors name the reward and the step.

    Args:
        name: what messages call it.
        function: a function of TRL's signature: ``prompts``, ``completions``, the data's columns and ``trainer_state``
            by keyword. It returns one number per completion, or None where it does not apply.
        only_one: whether the run has no other reward, so that None would leave a completion without any reward.
        seconds: how long one call may take; None for no limit.

    Returns:
        A function of the same signature. It raises CouplingError if the number of rewards is wrong, a reward is not a
        finite number, ``function`` raised anything (SystemExit as well, which would end the program as if all were
        well; an interruption by the user remains one), or took too long.
    """

    def step_of(columns: dict[str, Any]) -> str:
        state = columns.get("trainer_state")
        return f"step {state.global_step + 1}" if state is not None else "the first step"

    def failure(step: str, error: BaseException) -> CouplingError:
        if isinstance(error, TimeLimitError):
            return CouplingError(f"{step}: the reward {name} took longer than reward_timeout, {seconds:g} seconds")
        return CouplingError(f"{step}: the reward {name} raised {type(error).__name__}: {first_line(error)}")

    if inspect.iscoroutinefunction(function):

        async def reward_async(completions: Sequence[Any], **columns: Any) -> list[float | None]:
            step = step_of(columns)

            async def call() -> Any:
                try:
                    return await function(completions=completions, **columns)
                except asyncio.CancelledError:
                    raise
                except BaseException as error:  # a user's function may raise anything; SystemExit would end the loop
                    raise failure(step, error) from error

            try:
                rewards = await asyncio.wait_for(call(), seconds)
            except TimeoutError:
                raise failure(step, TimeLimitError()) from None
            return _check_rewards(rewards, len(completions), f"{step}: the reward {name}", only_one)

        reward_async.__name__ = name
        return reward_async

    def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        step = step_of(columns)
        try:
            with time_limit(seconds):
                rewards = function(completions=completions, **columns)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's function may raise anything
            raise failure(step, error) from error
        return _check_rewards(rewards, len(completions), f"{step}: the reward {name}", only_one)

    reward.__name__ = name
    return reward


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
        raise CouplingError(f"{subject} {quoted(reward)} for completion {index}, which is not a number") from None
    if not math.isfinite(number):
        raise CouplingError(f"{subject} {number} for completion {index}, but a reward must be finite")
    return number
