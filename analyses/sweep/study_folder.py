"""The folder of a study: where everything lies, what was asked for, and the lock of the one driver.

``study.json`` contains the tasks, the settings and the prompts, or where the images are; ``tasks/`` one record per
task; ``runs/`` one run per task, as ``coupling analyze --out`` writes them; ``index.csv`` and ``index.parquet`` the
table.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from coupling.analyses.sweep import stored
from coupling.analyses.sweep.runs import STUDY
from coupling.analyses.sweep.stored import INPUTS, has_fields, read_content
from coupling.analyses.sweep.tasks import Task
from coupling.errors import CouplingError
from coupling.files import check_output_folder, load_json, to_json, write_atomically
from coupling.locking import LOCK, LockedError, locked
from coupling.untrusted import quoted

DRIVER = "driver.json"
RUNS, TASKS, PROGRESS, LOGS = "runs", "tasks", "progress", "logs"
STALE = 20.0
"""Seconds without a sign of life after which a driver on another machine is taken for dead."""


class StudyFolder:
    """The folder of a study.

    Args:
        folder: its path.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def run(self, name: str) -> Path:
        """The folder of a task's run."""
        return self.folder / RUNS / name

    def make(self) -> None:
        """Make the folders.

        Raises:
            CouplingError: if they cannot be made.
        """
        try:
            for name in (RUNS, TASKS, PROGRESS, LOGS):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CouplingError(f"cannot write to the folder {self.folder}: {error.strerror or error}") from None

    def write(self, content: dict[str, Any]) -> None:
        """Write what was asked for."""
        write_atomically(self.folder / STUDY, to_json(content))

    def content(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            CouplingError: if the folder contains no study, or a damaged one.
        """
        if not (self.folder / STUDY).exists():
            raise CouplingError(f"{self.folder} is not the folder of a study: it contains no {STUDY}")
        return read_content(self.folder / STUDY)

    def tasks(self) -> list[Task]:
        """The tasks, in order."""
        return [Task(**task) for task in self.content()["tasks"]]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one driver of this folder; the operating system ends it with the process, however that ends.

        Raises:
            CouplingError: if there is another driver.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder))
            except LockedError:
                other = self.driver() or {}
                who = f" (process {other['pid']} on {other['host']})" if "pid" in other else ""
                raise CouplingError(
                    f"another coupling sweep works on {self.folder}{who}; "
                    f"coupling status {self.folder} shows how far it is"
                ) from None
            stack.callback((self.folder / DRIVER).unlink, missing_ok=True)
            yield

    def beat(self, content: dict[str, Any]) -> None:
        """The driver's sign of life."""
        now = {"pid": os.getpid(), "host": socket.gethostname(), "beat": time.time()}
        write_atomically(self.folder / DRIVER, to_json(content | now))

    def driver(self) -> dict[str, Any] | None:
        """What the driver wrote last; None where no driver lives."""
        try:
            content = load_json(self.folder / DRIVER)
        except CouplingError:
            return None
        if not has_fields(content, stored.DRIVER):
            return None
        if content["host"] == socket.gethostname():
            return content if _is_alive(content["pid"]) else None
        return content if time.time() - content["beat"] < STALE else None


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):  # no process has such a number
        return False


def prepare(folder: StudyFolder) -> dict[str, Any]:
    """Check that a study may be written to a folder, or goes on there.

    Returns:
        What an earlier start asked for; empty for a new study.

    Raises:
        CouplingError: if the folder contains something else, or cannot be written to.
    """
    entries = check_output_folder(
        folder.folder,
        is_ours=lambda names: STUDY in names or names <= {LOCK, RUNS, TASKS, PROGRESS, LOGS},
        overwrite=False,
        resume=True,
    )
    return folder.content() if STUDY in entries else {}


def check_same(folder: StudyFolder, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that a study is continued with the settings and the prompts or images that it began with.

    Raises:
        CouplingError: if they differ; models and revisions may be added.
    """
    wanted = json.loads(to_json(now))
    before, after = (
        content["settings"] | {key: content[key] for key in INPUTS if key in content} for content in (earlier, wanted)
    )
    differing = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if differing:
        key = differing[0]
        values = "" if key in INPUTS else f" ({key}: {quoted(before.get(key))} there, {quoted(after.get(key))} now)"
        raise CouplingError(
            f"{folder.folder} contains a study that differs in {', '.join(differing)}{values}; give the same settings, "
            "or another `out`"
        )
