"""Worker processes as the driver sees them: started, asked, and watched."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from coupling.analyses.sweep.hub import quiet_environment

COMMAND = (sys.executable, "-m", "coupling.analyses.sweep.worker")


class Worker:
    """A worker process (see ``coupling.analyses.sweep.worker``).

    Args:
        number: what it is called in ``log`` and in its events.
        log: the file that takes what it and its libraries print.
        events: where its answers go, as (worker, answer); the answer None says that the process has ended.
        environment: what differs from this process's environment.
    """

    def __init__(
        self,
        number: int,
        log: Path,
        events: "SimpleQueue[tuple[Worker, dict[str, Any] | None]]",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.number, self.log = number, log
        self.request: dict[str, Any] | None = None
        """What it works on; None for nothing."""
        log.write_bytes(b"")
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=quiet_environment() | dict(environment or {}),
                start_new_session=True,  # Ctrl-C goes to the driver alone
            )
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(self, request: dict[str, Any]) -> None:
        """Give it something to do; a process that has died meanwhile says so by its event."""
        assert self._process.stdin is not None
        self.request = request
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            return

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def ended_by_signal(self) -> bool:
        """Whether a signal ended it, rather than its own exit."""
        return self._process.wait() < 0

    def cause_of_death(self) -> str:
        """How it ended, in a few words."""
        code = self._process.wait()
        if code >= 0:
            return f"its worker ended with exit code {code}{self._last_words()}"
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else self._last_words()
        return f"its worker was ended by {name}{hint}"

    def _last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" ({last[:200]})" if last else ""

    def _listen(self, events: "SimpleQueue[tuple[Worker, dict[str, Any] | None]]") -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, None))


def thread_environment(threads: int) -> dict[str, str]:
    """How the libraries of a process are told how many threads they may use."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def device_environment(number: int, devices: int) -> dict[str, str]:
    """How a process is given the accelerator of its number alone; empty where there is none."""
    if devices == 0:
        return {}
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return {"CUDA_VISIBLE_DEVICES": visible[number % len(visible)] if visible else str(number % devices)}
