"""The engine of a cluster: Ray places the tasks, and repeats those whose worker or machine died."""

import logging
import os
import re
import socket
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from coupling.analyses.sweep.engines import Ended
from coupling.analyses.sweep.records import MOST_KILLS, MOST_STARTS, Records
from coupling.analyses.sweep.resources import BYTES_PER_CORE, cores, memory_needed
from coupling.analyses.sweep.study_folder import LOGS, StudyFolder
from coupling.analyses.sweep.tasks import Task
from coupling.analyses.sweep.work import run_task
from coupling.errors import CouplingError, one_line, require

CONNECT_SECONDS = 10.0
"""How long the port of a cluster may take to answer."""
HINT = "; start it with ray start --head, or leave out `address`"
LOG = "ray.log"
"""The file in the folder of logs for what Ray says of its workers."""
STARTS = 3
"""How often Ray is started on this machine: it gives itself 30 seconds, which a busy machine may not keep."""


class RayEngine:
    """Tasks on Ray. The study's folder and local checkpoints must lie where every machine of the cluster sees them.

    Args:
        folder: the study's folder.
        session: this start of the command.
        address: of a cluster; "auto" for the one that this machine belongs to; None starts Ray on this machine alone.
        workers: the most tasks that run side by side; None for as many as fit.
        threads: cores and threads of each task; None for one per 4 GiB that the task needs.
        device: the study's device.

    Raises:
        CouplingError: if Ray is not installed or cannot be reached.
    """

    name = "ray"

    def __init__(
        self,
        folder: StudyFolder,
        session: str,
        *,
        address: str | None = None,
        workers: int | None = None,
        threads: int | None = None,
        device: str = "auto",
    ) -> None:
        require("ray", purpose="the engine ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to nobody
        import ray

        self.folder, self.session, self.threads, self.workers = folder, session, threads, workers
        self._ray, self._started, self._running = ray, False, dict[Any, str]()
        if not ray.is_initialized():
            _connect(ray, address)
            self._started = True
        self._words = open(folder.folder / LOGS / LOG, "a", encoding="utf-8", errors="replace")  # noqa: SIM115 - until close
        self._output = redirect_stdout(WithoutRay(sys.stdout, self._words))
        self._output.__enter__()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU", "memory")}
        self._gpus = 1 if self._most["GPU"] >= 1 and device in ("auto", "cuda") else 0
        total = ray.cluster_resources()
        each = float(total.get("GPU", 1)) if self._gpus else float(total.get("CPU", 1)) / (threads or 1)
        self.parallel = max(1, int(each)) if workers is None else workers

    def has_room(self) -> bool:
        """Whether one more task may be given to Ray, which lets it wait until there is room for it."""
        return self.workers is None or len(self._running) < self.workers

    def submit(self, task: Task) -> None:
        """Give a task to Ray, with the cores, the memory and the accelerator that it asks for."""
        kills = Records(self.folder).read(task.name).kills
        needed = memory_needed(task)
        threads = self.threads or max(1, -(-needed // BYTES_PER_CORE))
        threads = max(1, min(threads, int(self._most["CPU"])))
        remote: Any = self._ray.remote(run_task)
        options = remote.options(
            name=task.name,
            num_cpus=threads,
            num_gpus=self._gpus,
            memory=min(needed, int(self._most["memory"])),  # more than any machine has would wait for ever
            max_retries=max(0, MOST_KILLS - 1 - kills) + MOST_STARTS,  # of these, the record refuses what is too much
        )
        self._running[options.remote(str(self.folder.folder.resolve()), task.name, self.session, threads)] = task.name

    def wait(self, seconds: float) -> list[Ended]:
        """The tasks that were measured, failed, or lost their worker for the last time.

        Raises:
            CouplingError: if the cluster is gone.
        """
        if not self._running:
            return []
        exceptions = self._ray.exceptions
        try:
            ready, _ = self._ray.wait(list(self._running), timeout=seconds, num_returns=1)
        except (exceptions.RaySystemError, ConnectionError) as error:
            raise CouplingError(f"the Ray cluster is gone: {one_line(error)}; the same command goes on") from None
        ended = []
        for reference in ready:
            name = self._running.pop(reference)
            try:
                self._ray.get(reference)
            except exceptions.RayError as error:
                ended.append(Ended(name, died=_reason(error), for_good=True))
                continue
            missing = not Path(self.folder.folder / "tasks" / f"{name}.json").exists()
            reason = f"its machine wrote to another {self.folder.folder}, which is not on a shared disk"
            ended.append(Ended(name, died=reason if missing else "", for_good=missing))
        return ended

    def close(self) -> None:
        """Cancel what runs, and end Ray where this engine began it."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._started:
            self._ray.shutdown()
        self._output.__exit__(None, None, None)
        self._words.close()


class WithoutRay:
    """Standard output without what Ray's own threads print there of workers that died, whatever it is told.

    Args:
        output: where everybody else writes.
        log: where Ray's threads write.
    """

    def __init__(self, output: TextIO, log: TextIO) -> None:
        self._to, self._log = output, log

    def write(self, text: str) -> int:
        """Write to the log in a thread of Ray, otherwise to the output."""
        return self._chosen().write(text)

    def flush(self) -> None:
        """Flush what ``write`` writes to."""
        self._chosen().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._to, name)

    def _chosen(self) -> TextIO:
        return self._log if threading.current_thread().name.startswith("ray_") else self._to


def _connect(ray: Any, address: str | None) -> None:
    """Join a cluster, or start Ray on this machine."""
    here = address is None
    if address is not None:
        _check_port(address)
    options: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False} if here else {}
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
            return
        except Exception as error:  # Ray raises plain exceptions, such as that of a start that took too long
            ray.shutdown()
            if here and attempt < STARTS:
                continue
            where, hint = ("on this machine", "") if here else (f"at {address}", HINT)
            raise CouplingError(f"there is no Ray {where}: {one_line(error, 200)}{hint}") from None


def _check_port(address: str) -> None:
    """Check that something listens at an address with a port; Ray itself tries for minutes.

    Raises:
        CouplingError: if nothing does.
    """
    match = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if match is None:  # such as "auto"
        return
    try:
        with socket.create_connection((match[1], int(match[2])), timeout=CONNECT_SECONDS):
            return
    except (OSError, OverflowError, UnicodeError) as error:
        raise CouplingError(f"there is no Ray at {address}: {one_line(error, 200)}{HINT}") from None


def _reason(error: Exception) -> str:
    """Why Ray gave a task up, in a few words."""
    kind = type(error).__name__
    known = {
        "WorkerCrashedError": "its worker was ended by a signal or a crash",
        "NodeDiedError": "its machine died",
        "OutOfMemoryError": "Ray ended its worker because memory ran out",
        "LocalRayletDiedError": "its machine died",
    }
    return known.get(kind, f"Ray reports {kind}: {one_line(error, 200)}")
