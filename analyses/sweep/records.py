"""The record of each task: how often it was begun, how it ended, and what was measured.

A record never decides by itself that a task is done: that is what the run's folder says. So the index, which is made
from both, cannot disagree with the runs.
"""

import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coupling.analyses.rl.checks import has_type
from coupling.analyses.sweep.stored import NONE, NUMBER, has_fields
from coupling.analyses.sweep.study_folder import PROGRESS, TASKS, StudyFolder
from coupling.errors import CouplingError
from coupling.files import load_json, to_json, write_atomically
from coupling.run_files import DATA, PARTS, STREAMED, SUMMARY

WAITING, RUNNING, DONE, FAILED, SET_ASIDE = "waiting", "running", "done", "failed", "set aside"
STATES = (WAITING, RUNNING, DONE, FAILED, SET_ASIDE)
MOST_KILLS = 3
"""How often a task may end its worker, without having saved anything more in between, before it is set aside."""
MOST_STARTS = 10
"""How often in a row a task's worker may be ended by a signal before it has begun the task."""


@dataclass
class Record:
    """What is known of one task.

    Attributes:
        state: one of ``STATES``.
        attempts: how often it was begun.
        kills: how many workers died with it since it last saved something.
        starts: how many of its workers in a row were ended by a signal before they had begun it.
        saved: the bytes that its unfinished run had saved when its last worker died.
        error: why it failed or was set aside, or how its last worker died.
        seconds: of all attempts together that ended.
        started: when the last attempt began, as seconds since 1970.
        ended: when it ended; 0 while it runs, and where its worker died.
        session: the start of the command that the last attempt belongs to.
        host: the machine of the last attempt.
        pid: its process.
        measures: the numbers of the finished run.
        stamp: the run file that the numbers were taken from (see ``stamp_of``).
    """

    state: str = WAITING
    attempts: int = 0
    kills: int = 0
    starts: int = 0
    saved: int = 0
    error: str = ""
    seconds: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    session: str = ""
    host: str = ""
    pid: int = 0
    measures: dict[str, float | None] | None = None
    stamp: list[int] | None = None


class Records:
    """The records of a study.

    Args:
        folder: the study's folder.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder

    def read(self, name: str) -> Record:
        """A task's record, its state as the run's folder has it; a record that is missing or damaged is a new one."""
        try:
            content = load_json(self._path(TASKS, name))
        except CouplingError:
            content = {}
        known = {key: value for key, value in content.items() if key in _KINDS}
        record = Record(**known) if _is_sound(known) else Record()
        if is_complete(self.folder.run(name)):
            record.state, record.error = DONE, ""
        elif record.state == DONE or record.state not in STATES:  # the run was removed
            record.state, record.measures, record.stamp = WAITING, None, None
        return record

    def write(self, name: str, record: Record) -> None:
        """Write a task's record."""
        write_atomically(self._path(TASKS, name), to_json(asdict(record)))

    def begin(self, name: str, session: str) -> bool:
        """Note that an attempt begins; the process that measures calls it.

        Returns:
            Whether it may: not where the task has ended too many workers. Where an engine repeats a task by itself, the
            attempt before, which this session began and did not end, counts as such a worker.
        """
        record = self.read(name)
        if record.state == RUNNING and record.session == session:
            self._count_kill(name, record)
            record.error = "its worker died"
        if record.kills >= MOST_KILLS:
            self._set_aside(name, record)
            return False
        record.state, record.attempts, record.session, record.starts = RUNNING, record.attempts + 1, session, 0
        record.started, record.ended = time.time(), 0.0
        record.host, record.pid = socket.gethostname(), os.getpid()
        self.write(name, record)
        return True

    def end(self, name: str, *, error: str = "", measures: dict[str, float | None] | None = None) -> None:
        """Note how an attempt ended: with an error, or with a finished run."""
        record = self.read(name)
        record.state, record.error = (FAILED, error) if error else (DONE, "")
        record.ended = time.time()
        record.seconds += max(0.0, record.ended - record.started)
        if not error:
            record.measures, record.stamp = measures, stamp_of(self.folder.run(name))
        self.write(name, record)
        self._path(PROGRESS, name).unlink(missing_ok=True)

    def died(self, name: str, session: str, reason: str, *, for_good: bool = False, by_signal: bool = False) -> Record:
        """Note that a worker died while it had a task.

        A task is blamed for what happened after it was begun, and the count begins again where the run has saved more
        than when the worker before died: then something else ends workers.

        Args:
            name: the task.
            session: the present start of the command.
            reason: how the worker died.
            for_good: the engine will not try again.
            by_signal: a signal ended the worker, which is not the task's fault before the task was begun.

        Returns:
            The record: the task waits again, or is set aside.
        """
        record = self.read(name)
        if record.state == DONE:
            return record
        was_begun = record.state == RUNNING and record.session == session
        if was_begun:
            record.seconds += max(0.0, time.time() - record.started)
        if for_good:
            record.kills = MOST_KILLS
        elif was_begun or not by_signal:
            self._count_kill(name, record)
        else:
            record.starts += 1
        record.error = reason
        if record.kills >= MOST_KILLS or record.starts >= MOST_STARTS:
            self._set_aside(name, record)
        else:
            record.state = WAITING
            self.write(name, record)
        return record

    def interrupted(self, name: str) -> None:
        """Note that the driver ended an attempt, which is not the task's fault."""
        record = self.read(name)
        if record.state == RUNNING:
            record.seconds += max(0.0, time.time() - record.started)
            record.state = WAITING
            self.write(name, record)

    def reset(self, name: str, *, retry: bool) -> Record:
        """The record as a new start of the command finds it: what was interrupted or failed waits again.

        Args:
            name: the task.
            retry: also what was set aside.
        """
        record = self.read(name)
        if record.state in (RUNNING, FAILED) or (retry and record.state == SET_ASIDE):
            if record.state == SET_ASIDE:
                record.kills = record.starts = 0
            record.state, record.error = WAITING, ""
            self.write(name, record)
        self._path(PROGRESS, name).unlink(missing_ok=True)
        return record

    def progress(self, name: str) -> dict[str, Any]:
        """How far a running task is, as ``set_progress`` was told; empty where it has not said so yet."""
        try:
            content = load_json(self._path(PROGRESS, name))
        except CouplingError:
            return {}
        return content if has_fields(content, {"prompt": (int,), "prompts": (int,), "fraction": NUMBER}) else {}

    def set_progress(self, name: str, prompt: int, prompts: int, fraction: float, word: str = "prompt") -> None:
        """Say how far a running task is; ``word`` is what an input is called."""
        content = {"prompt": prompt, "prompts": prompts, "fraction": fraction, "word": word}
        write_atomically(self._path(PROGRESS, name), to_json(content))

    def _count_kill(self, name: str, record: Record) -> None:
        run = self.folder.run(name)
        saved = sum(file.stat().st_size for file in (run / PARTS, run / STREAMED) if file.exists())
        record.kills = 1 if saved > record.saved else record.kills + 1
        record.saved = saved

    def _set_aside(self, name: str, record: Record) -> None:
        record.state, record.ended = SET_ASIDE, time.time()
        if record.kills >= MOST_KILLS:
            record.error = f"it ended its worker {record.kills} times; the last time {record.error}"
        else:
            record.error = (
                f"{record.starts} workers in a row ended before they had begun it; the last time {record.error}"
            )
        self.write(name, record)
        self._path(PROGRESS, name).unlink(missing_ok=True)

    def _path(self, kind: str, name: str) -> Path:
        return self.folder.folder / kind / f"{name}.json"


_KINDS: dict[str, tuple[type, ...]] = {
    "state": (str,), "attempts": (int,), "kills": (int,), "starts": (int,), "saved": (int,), "error": (str,),
    "seconds": NUMBER, "started": NUMBER, "ended": NUMBER, "session": (str,), "host": (str,), "pid": (int,),
    "measures": (dict, NONE), "stamp": (list, NONE),
}  # fmt: skip
"""The fields of a record, and their types."""


def _is_sound(content: dict[str, Any]) -> bool:
    """Whether a file contains what ``Records`` wrote; earlier versions wrote fewer fields."""
    measures = content.get("measures") or {}
    return has_fields(content, {key: _KINDS[key] for key in content}) and all(
        value is None or has_type(value, int, float) for value in measures.values()
    )


def is_complete(run: Path) -> bool:
    """Whether a folder contains a finished run."""
    return (run / SUMMARY).exists() and (run / DATA).exists()


def stamp_of(run: Path) -> list[int]:
    """What changes when a run's file changes: its time of change in nanoseconds, and its size."""
    status = (run / DATA).stat()
    return [status.st_mtime_ns, status.st_size]
