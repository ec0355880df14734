"""The driver of a sweep: gives the tasks of a study to an engine, and goes on where an earlier start ended."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.sweep import resources
from coupling.analyses.sweep.downloads import Downloads
from coupling.analyses.sweep.engines import Ended, LocalEngine, SweepEngine
from coupling.analyses.sweep.index import write_index
from coupling.analyses.sweep.inputs import absolute_name, inputs_as_json
from coupling.analyses.sweep.records import WAITING, Records
from coupling.analyses.sweep.runs import is_study
from coupling.analyses.sweep.status import Status, read_status
from coupling.analyses.sweep.study import Study, read_study, study_from_mapping
from coupling.analyses.sweep.study_folder import StudyFolder, check_same, prepare
from coupling.analyses.sweep.tasks import Task, expand
from coupling.choices import SWEEP_ENGINES, SweepEngineName
from coupling.errors import CouplingError
from coupling.untrusted import clean, quoted

Progress = Callable[[Status], None]
"""Called about once a second with how far the study is."""
SECONDS = 1.0
"""How often progress is reported and the table is written, at most."""
SWEEPS = Path("sweeps")
"""Where studies go that are given no folder."""


def sweep(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    out: str | Path | None = None,
    engine: SweepEngineName = "local",
    workers: int | None = None,
    threads: int | None = None,
    address: str | None = None,
    keep_downloads: int | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure every checkpoint of a study, each as one task with one run.

    The same call goes on with what an earlier one began: finished tasks are never repeated, unfinished ones go on
    prompt by prompt, and failed ones are tried again.

    Args:
        study: a study file, a mapping with its keys, or the folder of a study that goes on.
        out: the study's folder. Default: ``sweeps/`` and the name of the study file or of the first model.
        engine: "local" for worker processes on this machine, or "ray".
        workers: the most tasks that run side by side. Default: one per accelerator, or per core as far as the memory
            reaches; on Ray as many as fit.
        threads: the threads of each task. Default: the cores shared out among the workers; on Ray one per 4 GiB that
            the task needs.
        address: of a Ray cluster; "auto" for the one that this machine belongs to. Default: Ray is started here.
        keep_downloads: how many checkpoints that the study downloaded may lie on the disk at a time. Default: one more
            than tasks run side by side.
        retry: also try again what was set aside because it ended its worker three times.
        progress: see ``Progress``.

    Returns:
        The table of the study, which is also in its folder as ``index.csv`` and ``index.parquet``; see
        ``coupling.analyses.sweep.index``.

    Raises:
        CouplingError: if the study, the folder, an option or the engine cannot be used. A task that fails does not
            raise: the table contains its error.
    """
    _check_options(engine, workers, threads, address, keep_downloads)
    place, parsed = _place(study, out)
    earlier = prepare(place)
    if out is None and parsed is not None and earlier:
        _check_same_models(place, earlier, parsed)
    tasks, content = _tasks_and_content(place, parsed, earlier)
    place.make()
    with place.lock():
        place.write(content | {"tasks": [task.as_dict() for task in tasks]})
        records = Records(place)
        session = uuid.uuid4().hex
        waiting = [task for task in tasks if records.reset(task.name, retry=retry).state == WAITING]
        driver = _Driver(place, records, session, progress)
        try:
            if waiting:
                device = str(content["settings"].get("device", "auto"))
                driver.beat(engine)
                runner = _make_engine(place, session, waiting, engine, workers, threads, address, device)
                bound = runner.parallel + 1 if keep_downloads is None else keep_downloads
                pickle = bool(content["settings"].get("allow_pickle", False))
                with closing(runner), closing(Downloads(place, waiting, bound, pickle=pickle)) as downloads:
                    driver.run(waiting, runner, downloads)
        finally:  # after Ctrl-C, tasks are still under way
            for task in waiting:
                records.interrupted(task.name)
            table = write_index(place)
        return table


class _Driver:
    """The loop of one start of the command."""

    def __init__(self, place: StudyFolder, records: Records, session: str, progress: Progress | None) -> None:
        self.place, self.records, self.session, self.progress = place, records, session, progress
        self._began = time.time()
        self._engine = ""
        self._parallel = 0
        self._next_report = 0.0

    def beat(self, engine: str, parallel: int = 0) -> None:
        """Say that this driver lives."""
        self._engine, self._parallel = engine, parallel
        self.place.beat({"began": self._began, "session": self.session, "engine": engine, "parallel": parallel})

    def run(self, tasks: Sequence[Task], engine: SweepEngine, downloads: Downloads) -> None:
        """Run tasks until all have ended."""
        self.beat(engine.name, engine.parallel)
        waiting, running = deque(tasks), dict[str, Task]()
        while waiting or running:
            downloads.advance(waiting)
            while engine.has_room():
                task = next((task for task in waiting if downloads.is_ready(task)), None)
                if task is None:
                    break
                waiting.remove(task)
                running[task.name] = task
                engine.submit(task)
            if running:
                ended = engine.wait(0.2)
            else:  # the first download
                ended = []
                time.sleep(0.05)
            for one in ended:
                task = running.pop(one.task)
                if self._settle(one):
                    waiting.append(task)  # after the others
                else:
                    downloads.finish(task)
            self._report()
        self._report(last=True)

    def _settle(self, ended: Ended) -> bool:
        """Keep the record of a task that left its engine; whether it is to be tried again."""
        if not ended.died:
            return False
        record = self.records.died(
            ended.task, self.session, ended.died, for_good=ended.for_good, by_signal=ended.by_signal
        )
        return record.state == WAITING

    def _report(self, *, last: bool = False) -> None:
        """Write the table and report progress, at most every second, and in no more than a tenth of the time."""
        began = time.monotonic()
        if began < self._next_report and not last:
            return
        self.beat(self._engine, self._parallel)
        write_index(self.place)
        if self.progress is not None:
            self.progress(read_status(self.place.folder))
        self._next_report = time.monotonic() + max(SECONDS, 10 * (time.monotonic() - began))


def _place(study: str | Path | Mapping[str, Any] | Study, out: str | Path | None) -> tuple[StudyFolder, Study | None]:
    """The study's folder, and the study; None for one that goes on as its folder has it."""
    if isinstance(study, (str, Path)):
        if is_study(study):
            if out is not None and Path(out).resolve() != Path(study).resolve():
                raise CouplingError(f"{study} is the folder of a study, which goes on where it is; leave out `out`")
            return StudyFolder(study), None
        parsed = read_study(study)
        name = Path(study).stem
    else:
        parsed = study if isinstance(study, Study) else study_from_mapping(study)
        name = default_name(parsed.entries[0].model)
    return StudyFolder(SWEEPS / name if out is None else out), parsed


def _check_same_models(place: StudyFolder, earlier: dict[str, Any], study: Study) -> None:
    """Check that a study whose folder has a default name goes on with one of its models.

    Raises:
        CouplingError: if the study in the folder has none of them, and only its name is the same.
    """
    before = [str(entry[0]) for entry in earlier["declared"]]
    if not {entry.model for entry in study.entries} & set(before):
        raise CouplingError(
            f"{place.folder} contains a study of other models ({clean(', '.join(before), 200)}); give `out`, this "
            "folder to add to that study, or another one"
        )


def default_name(model: str) -> str:
    """The name of a study's folder, from its first model.

    Example:
        >>> default_name("EleutherAI/pythia-160m"), default_name("trained/checkpoint-*")
        ('pythia-160m', 'trained')
    """
    plain = [part for part in Path(model).parts if part.strip("./~") and not set(part) & set("*?[")]
    return plain[-1] if plain else "study"


def _tasks_and_content(
    place: StudyFolder, study: Study | None, earlier: dict[str, Any]
) -> tuple[list[Task], dict[str, Any]]:
    """The tasks, and what ``study.json`` keeps beside them."""
    known = [Task(**task) for task in earlier.get("tasks", [])]
    if study is None:
        return known, earlier
    settings = study.settings
    if "base" in settings:
        settings = settings | {"base": absolute_name(settings["base"])}
    content = {"declared": study.declared(), "settings": settings} | inputs_as_json(study)
    if earlier:
        check_same(place, earlier, content)
    try:
        return expand(study, known), content
    except CouplingError:
        if earlier and earlier["declared"] == content["declared"]:  # the hub is away, and the tasks are known
            return known, content
        raise


def _check_options(
    engine: str, workers: int | None, threads: int | None, address: str | None, keep_downloads: int | None
) -> None:
    if engine not in SWEEP_ENGINES:
        raise CouplingError(f"`engine` is {quoted(engine)}, but must be one of {', '.join(SWEEP_ENGINES)}")
    for name, value in (("workers", workers), ("threads", threads), ("keep_downloads", keep_downloads)):
        if value is not None and value < 1:
            raise CouplingError(f"`{name}` is {value}, but must be at least 1")
    if address is not None and engine != "ray":
        raise CouplingError("`address` is that of a Ray cluster; give it with `engine='ray'`")


def _make_engine(
    place: StudyFolder,
    session: str,
    tasks: Sequence[Task],
    engine: str,
    workers: int | None,
    threads: int | None,
    address: str | None,
    device: str,
) -> SweepEngine:
    if engine == "ray":
        from coupling.analyses.sweep.ray_engine import RayEngine

        return RayEngine(place, session, address=address, workers=workers, threads=threads, device=device)
    devices = resources.gpus(device)
    if workers is not None:
        count = min(workers, len(tasks))
    elif devices == 0 and device not in ("auto", "cpu"):  # one accelerator that the study names
        count = 1
    else:
        count = resources.default_workers(tasks, devices)
    return LocalEngine(place, session, count, threads or resources.threads_of(count), devices)
