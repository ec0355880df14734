"""Coupling through an RL run after it has ended, measured on the checkpoints that the run saved."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from coupling.analyses.rl.checkpoint_folders import (
    TRL_STATE,
    CheckpointFolder,
    SkippedFolder,
    Source,
    find_checkpoints,
    folders_of,
    read_object,
)
from coupling.analyses.rl.config import RunConfig, from_mapping
from coupling.analyses.rl.data import probe_texts, read_rows
from coupling.analyses.rl.folder import SUMMARY, TABLE, TRAINER, check_folder, prepare_folder
from coupling.analyses.rl.initial import initial_model
from coupling.analyses.rl.log import Row, RunTable, columns_of
from coupling.errors import CouplingError
from coupling.files import write_atomically
from coupling.locking import locked
from coupling.models.folder import is_local
from coupling.models.loading import load
from coupling.models.prompts import Prompts, bundled_prompts
from coupling.models.tokenization import tokenize
from coupling.rl import CouplingCallback
from coupling.settings import Settings
from coupling.shares import K, normalize_k
from coupling.untrusted import expanded
from coupling.version import __version__

Progress = Callable[[int, int, str], None]
"""Called with (checkpoints measured, number of checkpoints, name of the checkpoint that is measured next)."""


@dataclass(frozen=True)
class Defaults:
    """What is measured unless something else is given.

    Attributes:
        prompts: the run's own prompts, or the bundled ones.
        k: numbers of top singular vectors.
        initial: the model that the run began from; None where it is not known.
    """

    prompts: Prompts
    k: tuple[K, ...] = (10,)
    initial: str | None = None


@dataclass(frozen=True)
class MeasuredCheckpoints:
    """The result of ``measure_checkpoints``.

    Attributes:
        rows: one row per checkpoint, in order of steps; with the reward, the loss and so on where TRL's
            ``trainer_state.json`` contains them.
        skipped: the folders that were not measured.
        reference: what ``mismatch_to_initial`` compares with: the name of the first checkpoint, or "the initial
            model".
    """

    rows: list[Row]
    skipped: list[SkippedFolder]
    reference: str


def defaults_of(source: Source, prompts: Prompts | None = None) -> Defaults:
    """The prompts, K's and initial model of the run of ``coupling rl`` that saved some checkpoints.

    Args:
        source: see ``find_checkpoints``.
        prompts: prompts that replace the run's own.

    Returns:
        The run's own; for a run of another program the bundled prompts, K = 10, and the model that adapters name.

    Raises:
        CouplingError: if there is no checkpoint, or the run's data cannot be read again.
    """
    checkpoints, _ = find_checkpoints(source)
    first = checkpoints[0].folder.resolve()
    for out in list(first.parents)[1:3]:  # of run/trainer/checkpoint-1 or, with several seeds, run/trainer/seed-0/...
        content = read_object(out / SUMMARY).get("config")
        if first.is_relative_to(out / TRAINER) and isinstance(content, dict):
            config = from_mapping(content, str(out / SUMMARY))
            of_seed = first.parent.name.startswith("seed-")
            seed = int(first.parent.name.removeprefix("seed-")) if of_seed else config.seed
            if prompts is None:
                prompts = _own_prompts(config, seed, out)
            return Defaults(prompts, config.probe.k, initial_model(config, seed))
    return Defaults(bundled_prompts() if prompts is None else prompts, initial=checkpoints[0].base)


def measure_checkpoints(
    source: Source,
    prompts: Prompts,
    *,
    k: Sequence[K] = (10,),
    initial: str | None = None,
    seed: int = 0,
    truncate: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MeasuredCheckpoints:
    """Measure score, chance, excess and mismatch to the initial policy at every checkpoint.

    Args:
        source: see ``find_checkpoints``.
        prompts: texts measured at every checkpoint.
        k: numbers of top singular vectors; the first gives the columns ``score``, ``chance`` and ``excess``, the
            largest ``mismatch_to_initial``.
        initial: the model that the run began from, a folder or a hub id, whose row is step 0; None compares with the
            first checkpoint instead.
        seed: the seed of every random draw of the measurement.
        truncate: cut prompts to the model's context.
        out: folder for ``table.csv``, written after each checkpoint, and ``run.json``.
        overwrite: replace an earlier measurement in the folder.
        progress: see ``Progress``.

    Raises:
        CouplingError: if there is no checkpoint, none can be loaded, or the prompts do not suit the model.
    """
    settings = Settings(k=tuple(k), seed=seed)
    checkpoints, skipped = find_checkpoints(source)
    first = normalize_k(k[0])[0]
    logged = _logged_rows(checkpoints[-1].folder, first)
    if initial is not None:
        checkpoints = _with_initial(checkpoints, initial)
    folders = [folder.resolve() for folder in folders_of(source)]
    out = None if out is None else _check_output(expanded(out), folders, overwrite=overwrite)
    place = folders[0] if len(folders) == 1 else Path(os.path.commonpath(folders))
    table = RunTable(None if out is None else out / TABLE, place.name)
    summary = _Summary(out, place, prompts, settings, skipped)
    with nullcontext() if out is None else locked(out):
        if out is not None:
            prepare_folder(out, overwrite=overwrite, replaced=())
        summary.write()  # before the table, because it marks the folder as ours
        _measure_all(checkpoints, initial, logged, table, summary, first, truncate=truncate, progress=progress)
    return MeasuredCheckpoints(table.rows(), skipped, summary.reference)


def _measure_all(
    checkpoints: list[CheckpointFolder],
    initial: str | None,
    logged: dict[int, Row],
    table: RunTable,
    summary: "_Summary",
    first: K,
    *,
    truncate: bool,
    progress: Progress | None,
) -> None:
    """Measure one checkpoint after the other; the table's plain columns are at the first K."""
    settings = summary.settings
    probe: CouplingCallback | None = None
    for index, item in enumerate(checkpoints):
        if progress is not None:
            progress(index, len(checkpoints), item.name)
        try:
            checkpoint = load(str(item.folder), tokenizer=str(item.tokenizer))
        except CouplingError as error:
            if item.step == 0 and initial is not None:
                raise CouplingError(f"the initial model: {error}; `initial` names another model") from None
            summary.skipped.append(SkippedFolder(item.folder, str(error)))
            continue
        if probe is None:  # the callback that measures during a run; it compares with the first model that it measures
            summary.reference = item.name if initial is None else "the initial model"
            inputs = tokenize(checkpoint, summary.prompts.texts, truncate=truncate)
            probe = CouplingCallback(inputs, k=settings.k, seed=settings.seed)
        values = probe.measure(checkpoint.model)
        table.update(None, item.step, logged.get(item.step, {}) | columns_of(values, first))
        table.write()
        summary.measured[item.name] = item.step
        summary.write()
    if probe is None:
        raise CouplingError("; ".join(f"{item.name}: {item.reason}" for item in summary.skipped))
    summary.finished = True
    summary.write()


def _own_prompts(config: RunConfig, seed: int, out: Path) -> Prompts:
    """The prompts that a run was measured on."""
    try:
        texts = probe_texts(config.probe, read_rows(config.data, seed))
    except CouplingError as error:
        raise CouplingError(f"the run's own prompts: {error}; `prompts` gives others") from None
    return Prompts(texts, f"the probe of {out.name}")


def _check_output(out: Path, folders: Sequence[Path], *, overwrite: bool) -> Path:
    """The folder for the results, which must be apart from the checkpoints: replacing results removes files."""
    results = out.resolve()
    for checkpoints in folders:
        if results.is_relative_to(checkpoints) or checkpoints.is_relative_to(results):
            raise CouplingError(
                f"`out` is {out}, but the folder of the checkpoints is {checkpoints}: one contains the other; choose "
                "another folder"
            )
    check_folder(out, overwrite=overwrite, replaced=())
    return out


def _logged_rows(last: Path, k: K) -> dict[int, Row]:
    """What TRL logged at each step, from the state of the last checkpoint, which contains the whole history."""
    rows: dict[int, Row] = {}
    history = read_object(last / TRL_STATE).get("log_history")
    for entry in history if isinstance(history, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            rows.setdefault(entry["step"], {}).update(columns_of(entry, k))
    return rows


def _with_initial(checkpoints: list[CheckpointFolder], initial: str) -> list[CheckpointFolder]:
    """The checkpoints with the model that the run began from as step 0."""
    folder = Path(initial).expanduser().resolve() if is_local(initial) else Path(initial)
    start = CheckpointFolder(folder, 0, checkpoints[0].tokenizer)
    return [start, *(checkpoint for checkpoint in checkpoints if checkpoint.step > 0)]


@dataclass
class _Summary:
    """The ``run.json`` of a measurement; it is written after each checkpoint, unless there is no output folder."""

    out: Path | None
    folder: str | Path
    prompts: Prompts
    settings: Settings
    skipped: list[SkippedFolder]
    measured: dict[str, int] = field(default_factory=dict)
    reference: str = ""
    finished: bool = False

    def write(self) -> None:
        if self.out is None:
            return
        content = {
            "checkpoints": str(self.folder),
            "finished": self.finished,
            "measured": self.measured,
            "skipped": {item.name: item.reason for item in self.skipped},
            "mismatch_to": self.reference,
            "settings": self.settings.as_dict(),
            "prompts": {"source": self.prompts.source, "count": len(self.prompts.texts)},
            "package_version": __version__,
        }
        write_atomically(self.out / SUMMARY, (json.dumps(content, indent=2) + "\n").encode())
