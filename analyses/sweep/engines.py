"""What an engine is to the driver, and the engine of one machine: a pool of worker processes."""

from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from coupling.analyses.sweep.processes import Worker, device_environment, thread_environment
from coupling.analyses.sweep.study_folder import LOGS, StudyFolder
from coupling.analyses.sweep.tasks import Task


@dataclass(frozen=True)
class Ended:
    """A task left its engine.

    Attributes:
        task: its name.
        died: how its worker died; empty where the task's record says how it ended.
        for_good: the engine has tried as often as it may.
        by_signal: a signal ended its worker.
    """

    task: str
    died: str = ""
    for_good: bool = False
    by_signal: bool = False


class SweepEngine(Protocol):
    """Runs tasks side by side."""

    name: str
    parallel: int
    """How many tasks run side by side."""

    def has_room(self) -> bool:
        """Whether one more task may be submitted."""
        ...

    def submit(self, task: Task) -> None:
        """Start a task, or let it wait inside the engine."""

    def wait(self, seconds: float) -> list[Ended]:
        """The tasks that ended, after at most ``seconds`` seconds."""
        ...

    def close(self) -> None:
        """End everything that runs."""


class LocalEngine:
    """Worker processes on this machine; each measures one task after the other, and is replaced when it dies.

    Args:
        folder: the study's folder.
        session: this start of the command.
        workers: the number of processes.
        threads: the threads of each.
        devices: the number of accelerators; each worker sees one.
    """

    name = "local"

    def __init__(self, folder: StudyFolder, session: str, workers: int, threads: int, devices: int = 0) -> None:
        self.folder, self.session = folder, session
        self.parallel, self.threads, self.devices = workers, threads, devices
        self._workers: dict[int, Worker] = {}
        self._events: SimpleQueue[tuple[Worker, dict[str, Any] | None]] = SimpleQueue()

    def has_room(self) -> bool:
        """Whether a worker is idle, or another one may be started."""
        return self._idle() is not None or len(self._workers) < self.parallel

    def submit(self, task: Task) -> None:
        """Give a task to an idle worker, or to a new one."""
        worker = self._idle()
        if worker is None:
            number = next(number for number in range(self.parallel) if number not in self._workers)
            environment = thread_environment(self.threads) | device_environment(number, self.devices)
            log = self.folder.folder / LOGS / f"worker-{number}.log"
            worker = self._workers[number] = Worker(number, log, self._events, environment)
        worker.ask(
            {
                "do": "measure",
                "folder": str(self.folder.folder.resolve()),
                "task": task.name,
                "session": self.session,
                "threads": self.threads,
            }
        )

    def wait(self, seconds: float) -> list[Ended]:
        """The tasks that were measured, failed, or lost their worker."""
        ended = []
        try:
            worker, answer = self._events.get(timeout=seconds)
            while True:
                ended += self._handle(worker, answer)
                worker, answer = self._events.get_nowait()
        except Empty:
            return ended

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.kill()
        self._workers.clear()

    def _handle(self, worker: Worker, answer: dict[str, Any] | None) -> list[Ended]:
        request, worker.request = worker.request, None
        if answer is not None:
            return [Ended(answer["task"])]
        self._workers.pop(worker.number, None)
        if request is None:
            return []
        return [Ended(request["task"], died=worker.cause_of_death(), by_signal=worker.ended_by_signal())]

    def _idle(self) -> Worker | None:
        return next((worker for worker in self._workers.values() if worker.request is None), None)
