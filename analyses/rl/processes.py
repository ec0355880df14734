"""Several processes of one run: which of them writes and logs, and one verdict on the rewards of all of them."""

import inspect
import os
from collections.abc import Callable
from typing import Any

from coupling.errors import CouplingError

EMPTY = "completions/empty"
"""The key of the log for the share of completions that contain nothing but white space."""


def is_main_process() -> bool:
    """Whether this process writes and logs; launchers number the processes in ``RANK``."""
    return int(os.environ.get("RANK") or 0) == 0


def is_only_process() -> bool:
    """Whether a launcher started no other process of this run."""
    return int(os.environ.get("WORLD_SIZE") or 1) == 1


def gather_from_all(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks; every process has to call it."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


class AgreedRewards:
    """Mix-in for TRL's trainers: an error in the rewards of one process ends all processes, with the same message.

    A process that stopped by itself would leave the others waiting for it, or let them fail with messages that hide the
    cause.

    Raises:
        CouplingError: if a reward function raised it in any process, no function rewards a completion, or all
            completions of all processes are empty.
    """

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        from coupling.analyses.rl.tasks import text_of

        failures: list[str] = []
        functions: list[Any] = self.reward_funcs  # type: ignore[has-type]
        self.reward_funcs = [_postpone_errors(function, failures) for function in functions]
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)  # type: ignore[misc]
        finally:
            self.reward_funcs = functions
        n_empty = sum(not text_of(completion).strip() for completion in completions)
        reports = gather_from_all((failures[:1], n_empty, len(completions)))
        self._agree(reports, rewards)
        return rewards

    def _agree(self, reports: list[tuple[list[str], int, int]], rewards: Any) -> None:
        """Raise the same error in every process, or log the share of empty completions.

        Args:
            reports: for every process its first failure (if any), its empty completions, and all of its completions.
            rewards: (completion, function) over all processes, since TRL has gathered them.
        """
        step = self.state.global_step + 1  # type: ignore[attr-defined]
        n_empty, count = sum(empty for _, empty, _ in reports), sum(total for *_, total in reports)
        if n_empty == count:  # checked first, because it may be why a reward function failed
            raise CouplingError(
                f"step {step}: all {count} completions are empty: the model ends its answer at once, or writes nothing "
                "but special tokens; look at the prompts, the chat template and trainer.max_completion_length"
            )
        mode = "train" if self.model.training else "eval"  # type: ignore[attr-defined]
        self._metrics[mode][EMPTY].append(n_empty / count)  # type: ignore[attr-defined]
        messages = [message for failures, *_ in reports for message in failures]
        if messages:
            raise CouplingError(messages[0])
        n_unrewarded = int(rewards.isnan().all(dim=1).sum())  # TRL would count them as rewards of 0
        if n_unrewarded:
            raise CouplingError(
                f"step {step}: {n_unrewarded} of {count} completions got no reward: every reward function returned "
                "None for them"
            )


def _postpone_errors(function: Callable[..., Any], failures: list[str]) -> Callable[..., Any]:
    """A reward function that adds the message of a CouplingError to ``failures``, and then returns zeros."""
    if inspect.iscoroutinefunction(function):

        async def reward_async(completions: Any, **columns: Any) -> Any:
            try:
                return await function(completions=completions, **columns)
            except CouplingError as error:
                failures.append(str(error))
                return [0.0] * len(completions)

        return reward_async

    def reward(completions: Any, **columns: Any) -> Any:
        try:
            return function(completions=completions, **columns)
        except CouplingError as error:
            failures.append(str(error))
            return [0.0] * len(completions)

    return reward
