"""Several processes of one run: which of them writes and speaks, and one verdict on the rewards of all."""

import inspect
import os
from collections.abc import Callable
from typing import Any

from coupling.errors import CouplingError

EMPTY = "completions/empty"
"""What is logged: the share of completions that hold nothing but white space."""


def is_first() -> bool:
    """Whether this process is the one that writes and speaks; launchers number them in ``RANK``."""
    return int(os.environ.get("RANK") or 0) == 0


def is_alone() -> bool:
    """Whether a launcher started no other process of this run."""
    return int(os.environ.get("WORLD_SIZE") or 1) == 1


def from_all(value: Any) -> list[Any]:
    """The value of every process, in the order of their ranks; every process has to call it."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


class AgreedRewards:
    """Mix-in for TRL's trainers: what is wrong with the rewards of one process ends all, at one place, in its words.

    A process that stopped alone would leave the others waiting for it, or have them fail with words of their own.

    Raises:
        CouplingError: if a reward function raised it anywhere, no function rewards a completion, or the completions are
            empty everywhere.
    """

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        from coupling.analyses.rl.tasks import text_of

        failures: list[str] = []
        functions: list[Any] = self.reward_funcs  # type: ignore[has-type]
        self.reward_funcs = [_holding(function, failures) for function in functions]
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)  # type: ignore[misc]
        finally:
            self.reward_funcs = functions
        verdicts = from_all((failures[:1], sum(not text_of(one).strip() for one in completions), len(completions)))
        empty, count = sum(part for _, part, _ in verdicts), sum(part for *_, part in verdicts)
        if empty == count:
            raise CouplingError(
                f"step {self.state.global_step + 1}: all {count} completions are empty: the model ends its answer "  # type: ignore[attr-defined]
                "at once, or writes nothing but special tokens; look at the prompts, the chat template and "
                "trainer.max_completion_length"
            )
        mode = "train" if self.model.training else "eval"  # type: ignore[attr-defined]
        self._metrics[mode][EMPTY].append(empty / count)  # type: ignore[attr-defined]
        for said in [said for held, *_ in verdicts for said in held]:
            raise CouplingError(said)
        unrewarded = int(rewards.isnan().all(dim=1).sum())  # TRL has gathered them, and would count them as 0
        if unrewarded:
            raise CouplingError(
                f"step {self.state.global_step + 1}: {unrewarded} of {count} completions got no reward: every reward "  # type: ignore[attr-defined]
                "function returned None for them"
            )
        return rewards


def _holding(function: Callable[..., Any], failures: list[str]) -> Callable[..., Any]:
    """The reward function, its CouplingError kept until all processes have heard of it."""
    if inspect.iscoroutinefunction(function):

        async def held_async(completions: Any, **columns: Any) -> Any:
            try:
                return await function(completions=completions, **columns)
            except CouplingError as error:
                failures.append(str(error))
                return [0.0] * len(completions)

        return held_async

    def held(completions: Any, **columns: Any) -> Any:
        try:
            return function(completions=completions, **columns)
        except CouplingError as error:
            failures.append(str(error))
            return [0.0] * len(completions)

    return held
