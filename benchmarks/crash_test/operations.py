"""A kill at every file operation of a run's folder: a start, an overwrite, a resume and an extension.

Each scenario is run in a child process again and again. The n-th time, the child kills itself at its n-th operation:
in the middle of it where it is a write, before it otherwise. Then the folder has to be one that a resumed or an
overwriting start accepts and completes to the bytes of a run without kills, and no prompt that was saved may be
measured again.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import xarray as xr

from coupling.errors import CouplingError
from coupling.joining import join_prompts
from coupling.run_files import STREAMED
from coupling.run_folder import RunFolder, open_run, writing
from coupling.stream_store import StreamStore

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "fcntl.flock"}
"""The audit events of operations that change a folder, apart from opening a file."""
PROMPTS = 3
ONE, OTHER = {"model": "one"}, {"model": "other"}


def prompt(number: int, model: str = "one") -> xr.Dataset:
    """One prompt's Dataset, small, the same at each call."""
    draws = np.random.default_rng([number, len(model)])
    return xr.Dataset(
        {
            "mismatch": (("block", "other_block"), draws.normal(size=(4, 4))),
            "line_shape_score": (("token",), draws.normal(size=3 + number)),
            "n_tokens": ((), 3 + number),
        },
        {"block": np.arange(4), "other_block": np.arange(4), "token": np.arange(3 + number)},
        {"width": 16, "engine": "dense"},
    )


def write(
    folder: Path,
    identity: dict[str, str],
    count: int,
    saved: Callable[[int], object],
    *,
    streamed: bool = False,
    **options: bool,
) -> None:
    """Write a run of ``count`` prompts as ``coupling.analyze`` does.

    Args:
        folder: the run's folder.
        identity: which run it is.
        count: the number of prompts.
        saved: called with the number of each prompt that is measured, once it is saved.
        streamed: whether the prompts pass through two blocks first, as in a streamed run.
        **options: ``overwrite`` or ``resume``.
    """
    inputs = [f"{number:064x}" for number in range(count)]
    with writing(folder, **options):
        run = RunFolder(folder, identity, inputs, **options)
        if run.finished:
            return
        try:
            if streamed:
                _pass_blocks(StreamStore(run.streamed, dict(enumerate(inputs))), count)
            parts = []
            for number in range(count):
                part = run.part(number)
                if part is None:
                    part = prompt(number, identity["model"])
                    run.keep(number, part)
                    saved(number)
                parts.append(part)
            run.finish(join_prompts(parts), {})
        finally:
            run.leave()


def _pass_blocks(store: StreamStore, count: int) -> None:
    """What a streamed run saves at two blocks; of what is saved already it reads that it is whole."""
    for block in range(2):
        for number in range(count):
            values = torch.full((50,), float(10 * block + number))
            if not store.has("factors", block, number):
                store.put("factors", block, number, {"block": block}, {"values": values})
            content, tensors = store.get("factors", block, number)
            if content != {"block": block} or not torch.equal(tensors["values"], values):
                raise RuntimeError(f"the record of block {block} and prompt {number} is another one")


def start(folder: Path, saved: Callable[[int], object]) -> None:
    """A first start."""
    write(folder, ONE, PROMPTS, saved)


def overwrite(folder: Path, saved: Callable[[int], object]) -> None:
    """A start that replaces another run."""
    write(folder, ONE, PROMPTS, saved, overwrite=True)


def resume(folder: Path, saved: Callable[[int], object]) -> None:
    """A start that continues a run."""
    write(folder, ONE, PROMPTS, saved, resume=True)


def start_streamed(folder: Path, saved: Callable[[int], object]) -> None:
    """A first start of a streamed run."""
    write(folder, ONE, PROMPTS, saved, streamed=True)


def resume_streamed(folder: Path, saved: Callable[[int], object]) -> None:
    """A start that continues a streamed run."""
    write(folder, ONE, PROMPTS, saved, streamed=True, resume=True)


def _nothing(_: Path) -> None:
    """No folder."""


def _finished(folder: Path) -> None:
    """A finished run of another identity, and the file that an earlier kill left."""
    write(folder, OTHER, 2, lambda _: None)
    (folder / ".run.nc-a1b2c3d4").write_bytes(b"half")


def _stop(number: int) -> None:
    if number == 1:
        raise KeyboardInterrupt


def _unfinished(folder: Path, identity: dict[str, str] = OTHER) -> None:
    """An unfinished run with two saved prompts, and a third that is cut short."""
    try:
        write(folder, identity, PROMPTS, _stop)
    except KeyboardInterrupt:
        with (folder / "parts.bin").open("ab") as file:
            file.write((folder / "parts.bin").read_bytes()[:200])


def _unfinished_of_ours(folder: Path) -> None:
    _unfinished(folder, ONE)


def _streamed_of_ours(folder: Path) -> None:
    """An unfinished streamed run: records of its blocks, the last cut short, and one prompt."""

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        write(folder, ONE, PROMPTS, stop, streamed=True)
    os.truncate(folder / STREAMED, (folder / STREAMED).stat().st_size - 20)


def _shorter(folder: Path) -> None:
    """A finished run of the first two prompts."""
    write(folder, ONE, 2, lambda _: None)


Scenario = tuple[Callable[[Path], None], Callable[[Path, Callable[[int], object]], None], set[int]]
SCENARIOS: dict[str, Scenario] = {
    "start": (_nothing, start, set()),
    "overwrite": (_finished, overwrite, set()),
    "overwrite of an unfinished run": (_unfinished, overwrite, set()),
    "resume": (_unfinished_of_ours, resume, {0, 1}),
    "extension": (_shorter, resume, {0, 1}),
    "start of a streamed run": (_nothing, start_streamed, set()),
    "resume of a streamed run": (_streamed_of_ours, resume_streamed, {0}),
    "overwrite of a streamed run": (_streamed_of_ours, overwrite, set()),
}
"""What is in the folder before, what is done, and which prompts were saved before and are kept."""


def kill_at(number: int, folder: Path) -> None:
    """Make this process kill itself at its ``number``-th operation that changes a folder."""
    seen = 0
    real_write, real_fsync = os.write, os.fsync

    def is_last() -> bool:
        nonlocal seen
        seen += 1
        return seen == number

    def die() -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("alive")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in CHANGES
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            changes = str(arguments[0]).startswith(str(folder))
        if changes and is_last():
            die()

    def half_write(descriptor: int, content: Any) -> int:
        if is_last():
            real_write(descriptor, content[: len(content) // 2])
            die()
        return real_write(descriptor, content)

    def sync(fd: Any) -> None:
        if is_last():
            die()
        real_fsync(fd)

    os.write, os.fsync = half_write, sync
    sys.addaudithook(hook)


def killed(number: int, folder: Path, scenario: Scenario) -> set[int] | None:
    """Run a scenario in a child that dies at its n-th operation; the prompts that it saved, or None if it ended."""
    before, action, _ = scenario
    before(folder)
    receiver, sender = os.pipe()
    real_write = os.write
    child = os.fork()
    if child == 0:
        kill_at(number, folder)
        action(folder, lambda prompt: real_write(sender, bytes([prompt])))
        os._exit(0)
    os.close(sender)
    with open(receiver, "rb") as file:
        saved = set(file.read())
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(f"the scenario failed with status {status}")
        return None
    return saved


def check(folder: Path, expected: bytes, kept: set[int]) -> None:
    """Check what a kill left: it is completed to the expected bytes, and no prompt that was saved is measured again.

    Raises:
        RuntimeError: if a promise is broken.
    """
    with contextlib.suppress(CouplingError):
        open_run(folder)  # a run that can be read is complete: this one, or the one before it
    measured: set[int] = set()
    try:
        (resume_streamed if (folder / STREAMED).exists() else resume)(folder, measured.add)
    except CouplingError as error:
        if kept:
            raise RuntimeError(f"saved prompts cannot be resumed: {error}") from None
        overwrite(folder, measured.add)
    if (folder / "run.nc").read_bytes() != expected:
        raise RuntimeError("the completed run has other bytes than a run without kills")
    if measured & kept:
        raise RuntimeError(f"prompts {sorted(measured & kept)} were saved, and were measured again")
    names = sorted(os.listdir(folder))
    if names != ["run.json", "run.nc"]:
        raise RuntimeError(f"the folder of the finished run contains {names}")


def kills(name: str, place: Path, step: int = 1) -> Iterator[int]:
    """Kill a scenario at each ``step``-th of its operations, and check each time; the numbers of the operations.

    Raises:
        RuntimeError: if a promise is broken.
    """
    start(place / "expected", lambda _: None)
    expected = (place / "expected" / "run.nc").read_bytes()
    number = 1
    while True:
        folder = place / "run"
        saved = killed(number, folder, SCENARIOS[name])
        if saved is None:
            shutil.rmtree(place)
            return
        try:
            check(folder, expected, saved | SCENARIOS[name][2])
        except Exception as error:
            raise RuntimeError(f"{name}, killed at operation {number}: {error}") from error
        shutil.rmtree(folder)
        yield number
        number += step


def all_kills(place: Path, step: int = 1) -> dict[str, int]:
    """For each scenario, at how many operations it was killed."""
    return {name: sum(1 for _ in kills(name, Path(tempfile.mkdtemp(dir=place)), step)) for name in SCENARIOS}


if __name__ == "__main__":
    print(json.dumps(all_kills(Path(sys.argv[1]), int(sys.argv[2]))))
