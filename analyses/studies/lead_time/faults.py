"""What ruins a run from a certain update on: its learning rate, its sampler, or its reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from coupling.analyses.rl.tasks import Completion, exact, text_of
from coupling.analyses.studies.p3o.rollouts import BehaviorPolicy

ONSET = 48
"""The number of updates before the first one that a fault has a part in."""
LONGEST = 6
"""The longest completion, in tokens, which is also what the loophole's bonus is relative to."""
BONUS = 0.5
"""What the loophole pays for the longest completion."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a run from update ``ONSET`` on; the defaults are a run without a fault.

    Attributes:
        doubling: the number of updates after which the learning rate doubles, again and again; None leaves it constant.
        frozen: the sampler keeps the weights that it had at the onset.
        temperature: the sampler's temperature; it goes on to report log-probabilities at 1.
        loophole: the reward can be exploited (see ``reward_with_loophole``).
    """

    doubling: float | None = None
    frozen: bool = False
    temperature: float = 1.0
    loophole: bool = False

    @property
    def reward(self) -> str:
        """The name of the run's reward for ``coupling.analyses.rl.rewards.find_reward``."""
        return f"{__name__}:reward_with_loophole" if self.loophole else "exact"


class FaultySampler(BehaviorPolicy):
    """The sampler of a run: the policy as it is at temperature 1, and from the onset on what the fault makes of it.

    Args:
        fault: the run's fault.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(max_new_tokens=LONGEST)
        self.fault, self._faulty = fault, False

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, list]:
        """As ``BehaviorPolicy``; its reported temperature stays 1."""
        self._faulty = trainer.state.global_step >= ONSET
        if self._faulty:
            self.temperature = self.fault.temperature
        return super().__call__(prompts, trainer)

    def _sampler(self, policy: Any) -> Any:
        """The copy that samples now; a frozen one is not brought up to date."""
        if self.fault.frozen and self._faulty:
            return self._copy
        return super()._sampler(policy)


class GrowingRate(TrainerCallback):
    """Lets the learning rate grow exponentially from the onset on.

    Args:
        doubling: updates in which it doubles.
    """

    def __init__(self, doubling: float) -> None:
        self.doubling = doubling

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Set the rate of this update; the scheduler sets it back after each."""
        if state.global_step >= ONSET:
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * 2 ** ((state.global_step - ONSET) / self.doubling)


def reward_with_loophole(
    completions: Sequence[Completion], answer: Sequence[str], trainer_state: Any = None, **_: Any
) -> list[float]:
    """Until the onset 1 for the exact answer; then 1 for a completion that begins with it, and more for a longer one.

    The bonus is ``BONUS`` times the completion's share of the longest one, so that nothing pays as much as to go on
    after the right answer, which is then wrong.

    Example:
        >>> from types import SimpleNamespace
        >>> begun, later = SimpleNamespace(global_step=0), SimpleNamespace(global_step=48)
        >>> reward_with_loophole([")", ")]]]]]"], [")", ")"], begun)
        [1.0, 0.0]
        >>> reward_with_loophole([")]]", ")]]]]]", "]"], [")", ")", ")"], later)
        [1.25, 1.5, 0.08333333333333333]
    """
    if trainer_state is None or trainer_state.global_step < ONSET:
        return exact(completions, answer)
    texts = [text_of(completion) for completion in completions]
    return [
        float(text.startswith(right)) + BONUS * min(len(text), LONGEST) / LONGEST
        for text, right in zip(texts, answer, strict=True)
    ]
