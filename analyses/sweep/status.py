"""How far a study is, from its records alone: for the driver's own screen, and for ``coupling status`` beside it."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupling.analyses.sweep.records import FAILED, RUNNING, SET_ASIDE, STATES, WAITING, Record, Records
from coupling.analyses.sweep.study_folder import StudyFolder


@dataclass(frozen=True)
class Running:
    """A task that runs.

    Attributes:
        task: its name.
        prompt: the prompt or image that is measured, counted from 1; 0 while the model loads.
        prompts: how many there are; 0 while it is not known.
        fraction: the part that is measured, from 0 to 1.
        seconds: since it began.
        host: the machine.
        word: what an input of the task is called: "prompt" or "image".
    """

    task: str
    prompt: int
    prompts: int
    fraction: float
    seconds: float
    host: str
    word: str = "prompt"


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        folder: the study's folder.
        counts: the number of tasks in each state.
        running: those that run.
        troubled: (task, state, reason) of those that failed or were set aside.
        ended: (task, state, seconds) of those that ended in the present session, in the order in which they did.
        seconds: since the driver began; None without a driver.
        seconds_left: an estimate; None where nothing has ended yet.
        driver: what the driver says of itself; None where there is none.
    """

    folder: Path
    counts: dict[str, int]
    running: list[Running]
    troubled: list[tuple[str, str, str]]
    ended: list[tuple[str, str, float]]
    seconds: float | None
    seconds_left: float | None
    driver: dict[str, Any] | None

    @property
    def total(self) -> int:
        """The number of tasks."""
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, Any]:
        """The status as JSON represents it."""
        return {
            "folder": str(self.folder),
            "tasks": self.total,
            "states": self.counts,
            "running": [vars(one) for one in self.running],
            "troubled": [dict(zip(("task", "state", "reason"), one, strict=True)) for one in self.troubled],
            "seconds": self.seconds,
            "seconds_left": self.seconds_left,
            "driver": self.driver,
        }


def read_status(folder: str | Path) -> Status:
    """How far a study is; nothing is written, so it may be asked at any time and from any machine.

    Args:
        folder: the study's folder.

    Raises:
        CouplingError: if it is not one.
    """
    place = StudyFolder(folder)
    names = [task.name for task in place.tasks()]
    records = Records(place)
    driver = place.driver()
    known = {name: records.read(name) for name in names}
    for record in known.values():
        if record.state == RUNNING and driver is None:  # it was interrupted
            record.state = WAITING
    counts = Counter(record.state for record in known.values())
    running = [_running(records, name, record) for name, record in known.items() if record.state == RUNNING]
    begun = None if driver is None else float(driver["began"])
    ended = sorted(
        (record.ended, name) for name, record in known.items() if begun is not None and record.ended >= begun
    )
    seconds = None if begun is None else max(0.0, time.time() - begun)
    return Status(
        folder=place.folder,
        counts={state: counts[state] for state in STATES},
        running=running,
        troubled=[
            (name, record.state, record.error) for name, record in known.items() if record.state in (FAILED, SET_ASIDE)
        ],
        ended=[(name, known[name].state, known[name].seconds) for _, name in ended],
        seconds=seconds,
        seconds_left=_seconds_left(seconds, known, running, n_ended=len(ended)),
        driver=driver,
    )


def _running(records: Records, name: str, record: Record) -> Running:
    said = records.progress(name)
    return Running(
        name,
        int(said.get("prompt", 0)),
        int(said.get("prompts", 0)),
        float(said.get("fraction", 0.0)),
        max(0.0, time.time() - record.started),
        record.host,
        "image" if said.get("word") == "image" else "prompt",
    )


def _seconds_left(
    seconds: float | None, known: dict[str, Record], running: list[Running], *, n_ended: int
) -> float | None:
    """The tasks that are left, at the rate of this session."""
    n_worked = n_ended + sum(one.fraction for one in running)
    if seconds is None or n_ended == 0:
        return None
    n_left = sum(record.state in (WAITING, RUNNING) for record in known.values()) - sum(one.fraction for one in running)
    return seconds / n_worked * n_left
