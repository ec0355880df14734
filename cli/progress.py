"""A progress bar over prompts and blocks with the time left, on stderr."""

import os
import warnings

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class PromptProgress:
    """Called as ``progress(prompt, prompts, done, total)``; a context manager."""

    def __init__(self, console: Console, model: str) -> None:
        self._bar = Progress(
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
