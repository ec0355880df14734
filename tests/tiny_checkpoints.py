"""Checkpoints for tests of sweeps: tiny real ones, and folders that a light worker only pretends to measure."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIGHT_WORKER = (sys.executable, str(Path(__file__).parent / "light_worker.py"))
"""A worker that does in a moment what the file ``behavior`` of a checkpoint says, instead of measuring."""


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """A real checkpoint of two blocks and d = 16, with a tokenizer of letters."""
    from tests.tiny_policy import make_policy, make_tokenizer

    make_policy(seed).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def save_pretended(folder: Path, behavior: str = "ok") -> Path:
    """A folder that looks like a checkpoint, and says what the light worker does with it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "behavior").write_text(behavior)
    return folder


def save_killer(folder: Path) -> Path:
    """A checkpoint whose own code ends the process that loads it."""
    save_tiny(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "killer", "auto_map": {"AutoConfig": "killer.Killer", "AutoModel": "killer.Killer"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "killer.py").write_text(
        "import os, signal\n\n\nclass Killer:\n    pass\n\n\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    return folder


def start(*arguments: object, cwd: Path, light: bool = False) -> subprocess.Popen:
    """``coupling sweep`` in a process of its own."""
    script = "from coupling.cli import app; app.main()"
    if light:
        script = f"from coupling.analyses.sweep import processes; processes.COMMAND = {LIGHT_WORKER!r}; {script}"
    code = f"import sys; sys.argv = ['coupling', 'sweep', *sys.argv[1:]]; {script}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def wait_until(condition, seconds: float = 120) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(study: Path) -> list[int]:
    """The living processes that records name as those of running tasks."""
    pids = []
    for path in study.glob("tasks/*.json"):
        record = json.loads(path.read_text())
        if record["state"] == "running" and is_alive(record["pid"]):
            pids.append(record["pid"])
    return pids


def is_alive(pid: int) -> bool:
    """Whether a process lives."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(pid: int) -> None:
    """End a process at once, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def copy_run(source: Path, target: Path) -> None:
    """Copy a finished run, complete at once."""
    part = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.copytree(source, part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
