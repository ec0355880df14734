"""Kills runs of ``coupling rl`` at their operations on files and at any time, and checks that nothing is lost.

Every kill is a SIGKILL to a process of its own. Then
the run is resumed, or begun again where it had not come far enough, and has to end with the table and the models of a
run that was never killed. A process is killed while it begins, while it replaces an earlier run, or while it resumes.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.crash_test.commands import Figures
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.folder import check_folder
from coupling.analyses.rl.post_training import post_train
from coupling.analyses.rl.warm_start import warm_start
from coupling.errors import CouplingError
from coupling.programs import quiet_libraries

SEEDS = (0, 1)
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}
REFUSED = 3
"""The exit code of a process whose run was refused."""


def in_child(action: Callable[[], Any], watched: Path | None = None, kill_at: int | None = None) -> tuple[int, int]:
    """Run something in a process of its own; its exit code, and how many operations on files it made below a folder.

    Args:
        action: what to run.
        watched: the folder below which operations are counted.
        kill_at: the operation at which the process is killed, just before it.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with os.fdopen(reading, "rb") as counts:
            seen = counts.read()
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), len(seen)
    code = 1
    try:
        if watched is not None:
            sys.addaudithook(_counting(str(watched), writing, kill_at))
        action()
        code = 0
    except CouplingError as error:
        print(f"refused: {error}", file=sys.stderr)
        code = REFUSED
    finally:
        os._exit(code)


def _counting(watched: str, pipe: int, kill_at: int | None) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that writes one byte per operation into a pipe."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in OPERATIONS or not any(watched in str(argument) for argument in arguments[:2]):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        os.write(pipe, b".")

    return hook


def results(out: Path) -> dict[str, bytes]:
    """The table and the models of a run."""
    files = [out / "table.csv", *sorted(out.glob("model/**/*.safetensors"))]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


class Crashes:
    """A run, the same run killed at many places, and what came of it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        model = warm_start("brackets", steps=5, cache=folder / "cache")
        sizes = {"max_steps": 4, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 4}
        trainer = {**sizes, "learning_rate": 1e-3, "save_strategy": "steps", "save_steps": 2}
        content = {"model": str(model), "data": {"task": "brackets"}, "probe": {"every": 2, "k": 4, "count": 2}}
        self.config = from_mapping(content | {"trainer": trainer, "save": True})
        self.folder, self.count, self.failures = folder, Counter[str](), list[str]()
        began = time.monotonic()
        code, self.operations = in_child(self.run(folder / "whole"), folder / "whole")
        self.seconds = time.monotonic() - began
        assert code == 0
        self.expected = results(folder / "whole")

    def run(self, out: Path, **options: Any) -> Callable[[], Any]:
        """The run, as a function without arguments."""
        return lambda: post_train(self.config, out, seeds=SEEDS, **options)

    def kill(self, out: Path, place: float, **options: Any) -> None:
        """Kill a run at an operation, or, if ``place`` is negative, after a share of its time."""
        if place >= 0:
            code, _ = in_child(self.run(out, **options), out, int(place))
        else:
            pid = os.fork()
            if not pid:
                in_child_code = 1
                try:
                    self.run(out, **options)()
                    in_child_code = 0
                finally:
                    os._exit(in_child_code)
            time.sleep(-place * self.seconds)
            os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.count["kills" if code == -signal.SIGKILL else "ended before the kill"] += 1

    def recover(self, out: Path, name: str) -> None:
        """Resume a killed run, or begin it again; the result has to be that of the whole run."""
        code, _ = in_child(self.run(out, resume=True))
        how = "resumed"
        if code == REFUSED:
            how = "begun again"
            code, _ = in_child(self.run(out, overwrite=True))
        self.count[how] += 1
        left = sorted(path.name for path in out.iterdir() if path.name.startswith("."))
        if code != 0:
            self.failures.append(f"{name}: neither resumed nor overwritten")
        elif results(out) != self.expected:
            self.failures.append(f"{name}: other results")
        elif left:
            self.failures.append(f"{name}: {left} left behind")
        shutil.rmtree(out)

    def try_place(self, kind: str, place: float) -> None:
        """Kill a run of a kind at a place, and recover it."""
        out = self.folder / "out"
        if kind == "overwriting":
            shutil.copytree(self.folder / "whole", out)
            self.kill(out, place, overwrite=True)
        elif kind == "resuming":
            in_child(self.run(out), out, int(0.6 * self.operations))
            self.kill(out, place, resume=True)
        else:
            self.kill(out, place)
        self.count[kind] += 1
        if not out.exists():
            out.mkdir()
        check_folder(out, overwrite=True)  # whatever was left is known as a run, or as nothing
        self.recover(out, f"{kind}, place {place}")


def kill_and_resume(place: Path, count: int, seed: int = 0) -> Figures:
    """Kill runs of ``rl``, recover each, and compare its table and models with those of a run that was never killed.

    Args:
        place: an empty folder.
        count: the number of kills.
        seed: of the random moments.

    Raises:
        RuntimeError: if anything was lost.
    """
    quiet_libraries()
    draw = random.Random(seed)
    crashes = Crashes(place.resolve())
    index = 0
    while crashes.count["kills"] < count:
        kind = ("beginning", "overwriting", "resuming")[index % 3]
        early = index % 2 == 0  # half of the places are among the first operations, where a folder changes most
        at = draw.randrange(14 if early else crashes.operations)
        crashes.try_place(kind, -draw.random() if index % 4 == 3 else at)
        index += 1
    if crashes.failures:
        raise RuntimeError("; ".join(crashes.failures))
    return Figures(kills=crashes.count["kills"], resumes=crashes.count["resumed"])
