"""What machines have and tasks need."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from coupling.analyses.sweep import resources
from coupling.analyses.sweep.tasks import Task


def task(path, *, on_hub=False):
    return Task("a", "m", "", None, str(path), on_hub)


def test_memory_from_the_size_of_the_weights(tmp_path):
    save_file({"w": np.zeros(1000, np.float32)}, tmp_path / "model.safetensors")
    size = (tmp_path / "model.safetensors").stat().st_size
    assert resources.memory_needed(task(tmp_path)) == 2 * size + resources.OVERHEAD
    assert resources.memory_needed(task("bundled")) == resources.OVERHEAD
    assert resources.memory_needed(task("org/unknown", on_hub=True)) == resources.OVERHEAD


@pytest.mark.parametrize(
    ("cores", "gigabytes", "tasks", "devices", "workers"),
    [(8, 100, 20, 0, 8), (8, 3.5, 20, 0, 3), (8, 0.1, 20, 0, 1), (8, 100, 2, 0, 2), (8, 100, 20, 4, 4)],
)
def test_workers_fit_the_machine(monkeypatch, cores, gigabytes, tasks, devices, workers):
    monkeypatch.setattr(resources, "cores", lambda: cores)
    monkeypatch.setattr(resources, "available_memory", lambda: int(gigabytes * 2**30))
    assert resources.default_workers([task("bundled")] * tasks, devices) == workers


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: 8)
    assert [resources.threads_of(workers) for workers in (1, 3, 8, 20)] == [8, 2, 1, 1]


def test_this_machine():
    assert resources.cores() >= 1
    assert resources.available_memory() > 2**20
    assert resources.gpus("cpu") == 0
    assert resources.gpus("auto") >= 0
