"""The trained policy's own reward on prompts kept for it, through a run whose rollouts another policy samples."""

from typing import Any

from transformers import Trainer, TrainerCallback

from coupling.analyses.rl.tasks import Task
from coupling.analyses.rl.warm_start import sampled_reward

NAME = "held_out/reward"


class HeldOutReward(TrainerCallback):
    """Every N steps: the mean exact-match reward of the policy's own samples at temperature 1, same prompts each time.

    Use it as ``HeldOutReward(task, every=10).attach(trainer)``; it logs ``held_out/reward``. Training goes on with the
    random numbers that it would have drawn without it.

    Args:
        task: whose examples are drawn, by a seed of their own.
        every: steps between; the first is before the first step.
        count: examples.
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
        """The initial policy's."""
        self._sample()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Every N steps."""
        if state.global_step % self.every == 0:
            due = control.should_log  # any log answers for it, and the trainer's own is still to come
            self._sample()
            control.should_log = due

    def _sample(self) -> None:
        trainer: Any = self._trainer
        model = trainer.accelerator.unwrap_model(trainer.model)
        training = model.training
        model.eval()
        try:
            reward = sampled_reward(model, trainer.processing_class, self.task, count=self.count)
        finally:
            model.train(training)
        Trainer.log(trainer, {NAME: reward})  # the base class's: TRL's would clear what it is averaging
