"""What a machine has, what a task needs, and how many tasks run side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

from coupling.analyses.sweep import hub
from coupling.analyses.sweep.tasks import Task

OVERHEAD = 2**30
"""Bytes that a worker takes beside the model: the libraries and the Jacobians of a block."""
BYTES_PER_CORE = 4 * 2**30
"""On a cluster a task asks for one core for each 4 GiB that it needs."""


def cores() -> int:
    """The processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def gpus(device: str) -> int:
    """The number of CUDA devices that tasks may use; 0 where the study names another device."""
    if device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count()


def available_memory() -> int:
    """Bytes of memory that are free for new processes."""
    import psutil

    return int(psutil.virtual_memory().available)


def memory_needed(task: Task) -> int:
    """An estimate of the bytes that a task takes: its weights widened from half precision, and an overhead.

    The weights of a model that is not on this machine yet are not known, and count as none.
    """
    if task.on_hub:
        size = hub.size_on_disk(task.path, task.revision)
    else:
        size = 0 if task.path == "bundled" else hub.weight_bytes(Path(task.path))
    return 2 * size + OVERHEAD


def default_workers(tasks: Sequence[Task], devices: int) -> int:
    """How many tasks run side by side on this machine: one per accelerator, or per core as far as the memory reaches.

    One thread each is best for small models: threads of several processes wait for each other.
    """
    if devices:
        return max(1, min(devices, len(tasks)))
    largest = max((memory_needed(task) for task in tasks), default=OVERHEAD)
    return max(1, min(cores(), len(tasks), available_memory() // largest))


def threads_of(workers: int) -> int:
    """The threads of each of several workers that share the cores."""
    return max(1, cores() // workers)
