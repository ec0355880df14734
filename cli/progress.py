"""Progress bars with the time left, on stderr: over prompts and blocks, over steps of RL."""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class PromptProgress:
    """Called as ``progress(prompt, prompts, done, total)``; a context manager."""

    def __init__(self, console: Console, model: str) -> None:
        self._bar = _bar(console)
        self._task = self._bar.add_task(f"loading {escape(model)}", total=None)

    def __enter__(self) -> "PromptProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, prompt: int, prompts: int, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(
            self._task,
            description=f"prompt {prompt + 1}/{prompts}, Jacobian {done}/{total}",
            completed=prompt + done / total,
            total=prompts,
        )


class StepProgress:
    """Steps of RL over seeds, or checkpoints of a run; a context manager."""

    def __init__(self, console: Console, doing: str) -> None:
        self._bar = _bar(console)
        self._task = self._bar.add_task(escape(doing), total=None)

    def __enter__(self) -> "StepProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def of(self, seeds: int, first: int) -> Callable[[int, int, int, Mapping[str, Any]], None]:
        """To be called with (seed, steps done, steps in all, the row of the step)."""
        text = ""  # a step on rollouts that were trained on before has no reward of its own

        def move(seed: int, done: int, total: int, row: Mapping[str, Any]) -> None:
            nonlocal text
            which = f"seed {seed}, " if seeds > 1 else ""
            reward = row.get("reward")
            text = f", reward {reward:.3f}" if isinstance(reward, (int, float)) else text
            self._bar.update(self._task, description=f"{which}step {done}/{total}{text}",
                             completed=(seed - first) * total + done, total=seeds * total)  # fmt: skip

        return move

    def checkpoint(self, done: int, total: int, name: str) -> None:
        """Move the bar to a checkpoint."""
        self._bar.update(self._task, description=escape(name), completed=done, total=total)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=console.quiet or not console.is_terminal,
    )


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and warnings off the user's screen."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")  # its retries are not the user's concern
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
