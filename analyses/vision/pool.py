"""Train models side by side, in the worker processes that ``coupling sweep`` measures with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from coupling.analyses.sweep.processes import Worker, thread_environment
from coupling.analyses.vision.data import ImageData, cifar10, digits
from coupling.analyses.vision.design import Training
from coupling.analyses.vision.training import train_model
from coupling.errors import CouplingError

DIGITS = "digits"
Done = Callable[[dict[str, Any]], None]
"""Called with what ``train_model`` returned, after each training."""


def data_of(source: str) -> ImageData:
    """The images of a study: ``digits``, or a folder with CIFAR-10.

    Raises:
        CouplingError: if they cannot be read.
    """
    return digits() if source == DIGITS else cifar10(source)


def train_all(trainings: Sequence[Training], models: Path, source: str, workers: int, done: Done) -> None:
    """Train every model that is missing.

    Args:
        trainings: what to train.
        models: the folder of all models.
        source: see ``data_of``.
        workers: processes that train side by side, with one thread each.
        done: see ``Done``.

    Raises:
        CouplingError: if a training fails, or its worker dies.
    """
    waiting = list(reversed(trainings))
    events: SimpleQueue[tuple[Worker, dict[str, Any] | None]] = SimpleQueue()
    logs = models.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    pool = [
        Worker(number, logs / f"training-{number}.log", events, thread_environment(1))
        for number in range(min(workers, len(trainings)))
    ]

    def ask(worker: Worker) -> None:
        if waiting:
            training = waiting.pop()
            worker.ask(
                {
                    "do": "call",
                    "function": "coupling.analyses.vision.pool:train_in_worker",
                    "arguments": {
                        "training": training.as_dict(),
                        "folder": str(models / training.name),
                        "source": source,
                    },
                }
            )

    try:
        for worker in pool:
            ask(worker)
        for _ in trainings:
            worker, answer = events.get()
            if answer is None:
                raise CouplingError(f"a training ended early: {worker.cause_of_death()}")
            if "error" in answer:
                raise CouplingError(answer["error"])
            done(answer["returned"])
            ask(worker)
    finally:
        for worker in pool:
            worker.kill()


def train_in_worker(training: dict[str, Any], folder: str, source: str) -> dict[str, Any]:
    """What a worker calls: train one model; see ``train_model``."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return train_model(Training(**training), data_of(source), Path(folder))
