"""A worker of sweeps that pretends to measure: each checkpoint's file ``behavior`` says what becomes of it.

``ok`` copies a finished run; ``fail`` raises; ``kill`` ends the process; ``sleep 3`` takes three seconds; ``kill once``
ends the process the first time.
"""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from coupling.analyses.sweep import work, worker
from coupling.errors import CouplingError
from tests.tiny_checkpoints import copy_run


def measure(place, records, name, threads):
    task = next(task for task in place.tasks() if task.name == name)
    behavior = (Path(task.path) / "behavior").read_text().split()
    if behavior[0] == "fail":
        raise CouplingError("this checkpoint\nis broken")
    if behavior == ["kill", "once"]:
        (Path(task.path) / "behavior").write_text("ok")
    if behavior[0] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if behavior[0] == "crash":
        raise SystemExit("the driver of the device is broken")
    if behavior[0] == "sleep":
        for tenth in range(int(10 * float(behavior[1]))):
            records.set_progress(name, 1, 2, tenth / 10 / float(behavior[1]))
            time.sleep(0.1)
    copy_run(Path(os.environ["PRETENDED_RUN"]), place.run(name))
    return None  # the table takes the numbers from the run


work._measure = measure
work._import_libraries = lambda: None  # seconds, for what is not used here

if __name__ == "__main__":
    worker.main()
