"""The ``run.json`` of an RL run: its configuration, how it ended, and the versions that it used."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coupling.analyses.rl.config import RunConfig
from coupling.analyses.rl.folder import SUMMARY, TABLE
from coupling.analyses.rl.processes import is_main_process
from coupling.errors import CouplingError, DivergedError
from coupling.files import environment, write_atomically
from coupling.version import __version__


@dataclass
class RunRecord:
    """What ``run.json`` contains.

    Attributes:
        out: the run's folder.
        config: the configuration.
        seeds: all seeds of the run.
        generation_window: steps from one generation of rollouts to the next.
        identity: what the run begins from (see ``coupling.analyses.rl.identity``).
        done: the seeds that are finished, and the number of steps of each.
        finished: whether the run reached its end.
        diverged: whether it stopped because the model diverged.
        error: why it stopped; None if it did not.
        seconds: how long it took; None while it runs.
    """

    out: Path
    config: RunConfig
    seeds: tuple[int, ...]
    generation_window: int
    identity: Mapping[str, str] = field(default_factory=dict)
    done: dict[int, int | None] = field(default_factory=dict)
    finished: bool = False
    diverged: bool = False
    error: str | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "config": self.config.as_dict(),
            "seeds": list(self.seeds),
            "finished": self.finished,
            "diverged": self.diverged,
            "error": self.error,
            "generation_window": self.generation_window,
            "identity": dict(self.identity),
            "seeds_done": list(self.done),
            "steps": {str(seed): steps for seed, steps in self.done.items() if steps is not None},
            "seconds": self.seconds,
            "environment": {
                **environment("torch", "transformers", "trl", "datasets"),
                "block-coupling": __version__,
            },
        }

    def finish_seed(self, seed: int, steps: int) -> None:
        """Record a finished seed, so that it is not lost however the run ends.

        Raises:
            CouplingError: if the file cannot be written.
        """
        self.done[seed] = steps
        self.write()

    def write(self) -> None:
        """Write the file, in the main process alone.

        Raises:
            CouplingError: if it cannot be written.
        """
        if is_main_process():
            content = json.dumps(self.as_dict(), indent=2, default=str) + "\n"
            write_atomically(self.out / SUMMARY, content.encode())


@contextmanager
def recorded(record: RunRecord) -> Iterator[None]:
    """A context for the run itself: writes the record when the run begins and when it ends, however it ends.

    Raises:
        CouplingError: as the run raises it, with the place of the table added to the message; a ``DivergedError``
            stays one.
    """
    started = time.perf_counter()
    record.write()
    try:
        yield
        record.finished = True
    except CouplingError as error:
        record.error, record.diverged = str(error), isinstance(error, DivergedError)
        table = record.out / TABLE
        if not table.exists():
            raise
        raise type(error)(f"{error}; the steps before it are in {table}") from error.__cause__
    except Exception as error:
        record.error = str(error)
        raise
    except BaseException:
        record.error = "interrupted"
        raise
    finally:
        record.seconds = round(time.perf_counter() - started, 1)
        record.write()
