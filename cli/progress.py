"""Progress bars with the remaining time, on stderr: over prompts and blocks, over steps of RL."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coupling.cli.interrupts import check
from coupling.untrusted import clean


class _Bar:
    """A progress bar with one task; a context manager that shows it."""

    def __init__(self, console: Console, description: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task(clean(description, 200), total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _move(self, description: str, completed: float, total: int) -> None:
        check()
        self._progress.update(self._task, description=clean(description, 200), completed=completed, total=total)


class PromptProgress(_Bar):
    """The prompts or images of a measurement; called as ``progress(prompt, prompts, done, total)``."""

    def __init__(self, console: Console, model: str) -> None:
        super().__init__(console, f"loading {model}")
        self.word = "prompt"
        """What an input is called; ``coupling.analyze`` sets it to "image" for a model of images."""

    def __call__(self, prompt: int, prompts: int, done: int, total: int) -> None:
        """Move the bar to Jacobian ``done`` of ``total`` in one of ``prompts`` prompts or images."""
        self._move(f"{self.word} {prompt + 1}/{prompts}, Jacobian {done}/{total}", prompt + done / total, prompts)

    def over_blocks(self, block: int, blocks: int, done: int, prompts: int) -> None:
        """Move the bar of a streamed run: ``done`` of ``prompts`` prompts at one of ``blocks`` blocks."""
        self._move(f"block {min(block + 1, blocks)}/{blocks}, prompt {done}/{prompts}", block + done / prompts, blocks)


class StepProgress(_Bar):
    """The steps of RL over all seeds, or the checkpoints of a run."""

    def over_seeds(self, count: int, first: int) -> Callable[[int, int, int, Mapping[str, Any]], None]:
        """A function to be called with (seed, steps done, total number of steps, the step's row).

        Args:
            count: the number of seeds.
            first: the first of them.
        """
        reward_text = ""  # kept over steps: one that reuses the rollouts of an earlier step logs no reward

        def move(seed: int, done: int, total: int, row: Mapping[str, Any]) -> None:
            nonlocal reward_text
            reward = row.get("reward")
            if isinstance(reward, (int, float)):
                reward_text = f", reward {reward:.3f}"
            seed_text = f"seed {seed}, " if count > 1 else ""
            self._move(f"{seed_text}step {done}/{total}{reward_text}", (seed - first) * total + done, count * total)

        return move

    def checkpoint(self, done: int, total: int, name: str) -> None:
        """Move the bar to a checkpoint."""
        self._move(name, done, total)
