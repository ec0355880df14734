"""How a sweep looks on a terminal: a table that moves, plain lines where nothing can move, and the table at the end."""

import time
from typing import TYPE_CHECKING, Any, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coupling.cli.render.numbers import figures, percent
from coupling.cli.render.text import plain
from coupling.untrusted import MOST_SHOWN

if TYPE_CHECKING:
    import pandas as pd

    from coupling.analyses.sweep.status import Running, Status

PLAIN_SECONDS = 60.0
"""How often the totals are printed where the output is not a terminal."""
MOST_ROWS = 40
"""Rows of the final table; index.csv has them all."""
STYLES = {"done": "green", "failed": "red", "set aside": "red", "running": "cyan"}


class SweepProgress:
    """The progress of a sweep on a console; a context manager that is called with each ``Status``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._last: Status | None = None
        self._said: set[str] = set()
        self._next_totals = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __call__(self, status: "Status") -> None:
        """Show how far the sweep is."""
        self._last = status
        if self.console.quiet:
            return
        if self._live is not None:
            self._live.start()
            self._live.update(Group(*_lines(status)), refresh=True)
            return
        for name, state, seconds in status.ended:
            if name not in self._said:
                self._said.add(name)
                reason = next((f": {reason}" for task, _, reason in status.troubled if task == name), "")
                self._print(f"{name} {state} after {duration(seconds)}{reason}")
        if time.monotonic() >= self._next_totals:
            self._next_totals = time.monotonic() + PLAIN_SECONDS
            self._print(totals(status))

    def stop(self) -> None:
        """Take the moving table off the screen."""
        if self._live is not None:
            self._live.stop()

    def so_far(self) -> str:
        """How far the sweep was when it was last reported; empty where it was not."""
        if self._last is None:
            return ""
        return f": {self._last.counts['done']} of {self._last.total} tasks are done"

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def print_status(status: "Status", console: Console) -> None:
    """Print how far a sweep is."""
    for line in _lines(status):
        console.print(line, soft_wrap=True, highlight=False)
    for name, state, reason in status.troubled:
        line = Text.assemble(plain(f"{name} {state}", "red"), ": ", plain(reason, most=MOST_SHOWN))
        console.print(line, soft_wrap=True, highlight=False)
    if status.driver is None:
        left = status.counts["waiting"]
        note = "no sweep is running; coupling sweep goes on" if left else "every task has ended"
        console.print(note, highlight=False)


def print_index(table: "pd.DataFrame", console: Console) -> None:
    """Print the most important columns of a study's table."""
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("task", overflow="fold")
    shown.add_column("state", no_wrap=True)
    for column in ("step", "score", "chance", "excess", "time"):
        shown.add_column(column, justify="right", no_wrap=True)
    for _, row in table.head(MOST_ROWS).iterrows():
        missing = row.isna()
        values: dict[str, Any] = {name: None if missing[name] else value for name, value in row.items()}
        style = STYLES.get(row["state"], "default")
        shown.add_row(
            plain(row["task"]),
            plain(row["state"], style),
            "" if values["step"] is None else str(values["step"]),
            figures(values["score"]),
            figures(values["chance"]),
            percent(values["excess"]),
            "-" if values["seconds"] is None else duration(values["seconds"]),
        )
    console.print(shown)
    if len(table) > MOST_ROWS:
        console.print(f"... and {len(table) - MOST_ROWS} more tasks, all in index.csv", highlight=False)


def totals(status: "Status") -> str:
    """One line: the number of tasks in each state, the time so far and the time left."""
    counts = [f"{count} {state}" for state, count in status.counts.items() if count or state == "done"]
    line = f"{status.total} tasks: {', '.join(counts)}"
    if status.seconds is not None:
        line += f"; {duration(status.seconds)} so far"
    if status.seconds_left is not None and status.seconds_left > 0:
        line += f", about {duration(status.seconds_left)} left"
    return line


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(7.25), duration(61), duration(7300)
        ('7.2 s', '1:01 min', '2:01 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _lines(status: "Status") -> list[Any]:
    """One line per running task, and the totals."""
    lines: list[Any] = [_running_table(status.running)] if status.running else []
    return [*lines, Text(totals(status))]


def _running_table(running: "list[Running]") -> Table:
    table = Table.grid(padding=(0, 2))
    for one in running:
        where = f"{one.word} {one.prompt}/{one.prompts}" if one.prompts else "loading"
        done = f"{100 * one.fraction:.0f}%" if one.prompts else ""
        table.add_row(plain(one.task), where, done, duration(one.seconds), plain(one.host, "dim"))
    return table
