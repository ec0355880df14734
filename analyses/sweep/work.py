"""One task: measure a checkpoint into its run's folder, and keep its record. Every engine calls this."""

import time
from pathlib import Path

from coupling.analyses.sweep.inputs import arguments_of
from coupling.analyses.sweep.records import Records
from coupling.analyses.sweep.study_folder import StudyFolder
from coupling.errors import CouplingError, one_line
from coupling.programs import loading_libraries

PROGRESS_SECONDS = 1.0
"""How often a task says how far it is."""


def run_task(folder: str | Path, name: str, session: str, threads: int | None = None) -> str:
    """Measure one task of a study; what an earlier attempt has measured is kept.

    An error is recorded, not raised: it concerns this task alone.

    Args:
        folder: the study's folder.
        name: the task.
        session: the start of the command that asks for it.
        threads: how many threads may compute; None for PyTorch's own choice.

    Returns:
        The state of the task's record.
    """
    place = StudyFolder(folder)
    records = Records(place)
    _import_libraries()
    if not records.begin(name, session):
        return records.read(name).state
    error = ""
    measures: dict[str, float | None] | None = None
    try:
        measures = _measure(place, records, name, threads)
    except CouplingError as problem:
        error = one_line(problem)
    except MemoryError:
        error = "the machine's memory is not enough"
    except Exception as problem:  # whatever a model's code raises: the other tasks go on
        kind = type(problem).__name__
        memory = kind == "OutOfMemoryError"
        error = "the device's memory is not enough" if memory else f"unexpected {kind}: {one_line(problem)}"
    records.end(name, error=error, measures=measures)
    return records.read(name).state


def _import_libraries() -> None:
    """Import what measuring needs, which takes seconds, before the task has begun: an end in it is not its fault."""
    with loading_libraries():
        import coupling.analyses.sweep.index
        import coupling.models.loading
        import coupling.pipeline  # noqa: F401


def _measure(place: StudyFolder, records: Records, name: str, threads: int | None) -> dict[str, float | None]:
    """Measure, and return the numbers of the table."""
    import torch

    from coupling.analyses.sweep.index import plain_measures
    from coupling.pipeline import analyze

    if threads is not None:
        torch.set_num_threads(threads)
    content = place.content()
    task = next(task for task in place.tasks() if task.name == name)
    try:
        run = analyze(
            task.path,
            out=place.run(name),
            resume=True,
            revision=task.revision if task.on_hub and task.revision else None,
            progress=_Progress(records, name),
            **arguments_of(content),
            **content["settings"],
        )
        return plain_measures(run)
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Progress:
    """Says how far a task is, about once a second.

    Args:
        records: where.
        name: the task.
    """

    def __init__(self, records: Records, name: str) -> None:
        self.records, self.name = records, name
        self.word = "prompt"
        """What an input is called; ``coupling.analyze`` sets it."""
        self._said = 0.0

    def __call__(self, prompt: int, prompts: int, done: int, total: int) -> None:
        if time.monotonic() - self._said >= PROGRESS_SECONDS:
            self._said = time.monotonic()
            fraction = (prompt + done / total) / prompts
            self.records.set_progress(self.name, prompt + 1, prompts, fraction, self.word)
