"""The trained policy's own reward on held-out prompts, for runs whose rollouts another policy samples."""

from typing import Any

from transformers import Trainer, TrainerCallback

from coupling.analyses.rl.tasks import Task
from coupling.analyses.rl.warm_start import sampled_reward

NAME = "held_out/reward"
"""The name under which the reward is logged."""


class HeldOutReward(TrainerCallback):
    """Every N steps: the mean exact-match reward of the policy's own samples at temperature 1, on the same prompts.

    Use it as ``HeldOutReward(task, every=10).attach(trainer)``; it logs ``held_out/reward``, between 0 and 1. Training
    continues with the random numbers that it would have drawn without it.

    Args:
        task: the task whose examples are drawn; their seed is not that of the training examples.
        every: steps between measurements; the first is before the first step.
        count: number of examples.
    """

    def __init__(self, task: Task, *, every: int, count: int = 512) -> None:
        self.task, self.every, self.count = task, every, count
        self._trainer: Trainer | None = None

    def attach(self, trainer: Trainer) -> "HeldOutReward":
        """Add this callback to a trainer, and write into its logs."""
        self._trainer = trainer
        trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the initial policy."""
        self._measure()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure every N steps."""
        if state.global_step % self.every == 0:
            # Any log clears should_log, and with it the trainer's own log of this step, which is still to come.
            should_log = control.should_log
            self._measure()
            control.should_log = should_log

    def _measure(self) -> None:
        trainer: Any = self._trainer
        model = trainer.accelerator.unwrap_model(trainer.model)
        training = model.training
        model.eval()
        try:
            reward = sampled_reward(model, trainer.processing_class, self.task, count=self.count)
        finally:
            model.train(training)
        # The base class's log, because TRL's would also write, and then clear, the metrics that it still averages.
        Trainer.log(trainer, {NAME: reward})
