"""Downloads ahead of the tasks: the next checkpoint arrives while this one computes, within a bound on the disk."""

from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any

from coupling.analyses.sweep import hub
from coupling.analyses.sweep.processes import Worker
from coupling.analyses.sweep.study_folder import LOGS, StudyFolder
from coupling.analyses.sweep.tasks import Task
from coupling.errors import CouplingError
from coupling.files import load_json, to_json, write_atomically

DOWNLOADS = "downloads.json"


class Downloads:
    """The checkpoints of the hub that a study downloads, in the order of its tasks, one at a time.

    What the cache contained before the study is used, and never deleted. What the study downloaded is deleted after its
    task, the oldest first, when there would be more than ``bound`` of it.

    Args:
        folder: the study's folder.
        tasks: those that wait.
        bound: how many checkpoints may lie on the disk at a time, at least 1.
        pickle: download weights that are pickled.
        start: starts the process that downloads; tests replace it.
    """

    def __init__(
        self,
        folder: StudyFolder,
        tasks: Iterable[Task],
        bound: int,
        *,
        pickle: bool = False,
        start: Callable[..., Any] = Worker,
    ) -> None:
        self.folder, self.bound, self.pickle, self._start = folder, bound, pickle, start
        self._process: Any = None
        self._events: SimpleQueue[tuple[Any, dict[str, Any] | None]] = SimpleQueue()
        self._coming: str | None = None
        self._ready: set[str] = set()
        self._commits: dict[str, str] = {}
        self._ours = self._read()
        waiting = {task.name for task in tasks}
        self._finished = [name for name in self._ours if name not in waiting]  # of an earlier start

    def is_ready(self, task: Task) -> bool:
        """Whether a task can begin: it is local, or its checkpoint has been downloaded (or could not be)."""
        return not task.on_hub or task.name in self._ready

    def advance(self, tasks: Iterable[Task]) -> None:
        """Take note of what has been downloaded, and begin the next download if there is room for it.

        Args:
            tasks: the tasks that wait, in order.
        """
        self._take_notes()
        if self._coming is not None:
            return
        for task in tasks:
            if not task.on_hub or task.name in self._ready:
                continue
            if task.name not in self._ours and hub.is_cached(task.path, task.revision):
                self._ready.add(task.name)  # it is the user's
                continue
            if not self._make_room():
                return
            self._ours.setdefault(task.name, "")
            self._write()  # before it begins: a driver that is killed leaves no download that belongs to nobody
            self._coming = task.name
            request = {"do": "download", "task": task.name, "model": task.path, "revision": task.revision}
            self._ask(request | {"pickle": self.pickle})
            return

    def finish(self, task: Task) -> None:
        """A task needs its checkpoint no more."""
        if task.name in self._ours and task.name not in self._finished:
            self._finished.append(task.name)

    def close(self) -> None:
        """End the download that is under way; what has arrived of it is kept, and the next start continues it."""
        if self._process is not None:
            self._process.kill()

    @property
    def held(self) -> int:
        """How many checkpoints of this study lie on the disk or are arriving."""
        return len(self._ours)

    def _make_room(self) -> bool:
        """Delete what no task needs any more until one more checkpoint fits; whether it does."""
        while len(self._ours) >= self.bound and self._finished:
            commit = self._ours.pop(self._finished.pop(0))
            self._write()
            if commit and commit not in self._ours.values():  # two revisions may be one commit
                self._ask({"do": "delete", "commits": [commit]})
        return len(self._ours) < self.bound

    def _ask(self, request: dict[str, Any]) -> None:
        if self._process is None:
            self._process = self._start(0, self.folder.folder / LOGS / "downloads.log", self._events)
        self._process.ask(request)

    def _take_notes(self) -> None:
        while True:
            try:
                _, answer = self._events.get_nowait()
            except Empty:
                return
            if answer is None:  # the process died; the measurement will load what is missing by itself
                self._process = None
                answer = {"task": self._coming} if self._coming is not None else {}
            if "task" in answer:
                self._ready.add(answer["task"])
                self._coming = None
                self._ours[answer["task"]] = answer.get("commit", "")
                self._write()

    def _read(self) -> dict[str, str]:
        try:
            content = load_json(self.folder.folder / DOWNLOADS)
        except CouplingError:
            return {}
        return {str(name): str(commit) for name, commit in content.items()}

    def _write(self) -> None:
        write_atomically(self.folder.folder / DOWNLOADS, to_json(dict(self._ours)))
