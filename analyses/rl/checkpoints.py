"""Coupling through an RL run after it has ended, measured on the checkpoints that the run saved."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from coupling.analyses.rl.checkpoint_folders import (
    TRL_STATE,
    CheckpointFolder,
    SkippedFolder,
    find_checkpoints,
    read_object,
)
from coupling.analyses.rl.config import RunConfig, from_mapping
from coupling.analyses.rl.data import initial_model, probe_texts, read_rows
from coupling.analyses.rl.log import SUMMARY, TABLE, TRAINER, Row, RunTable, columns_of, prepare_folder
from coupling.errors import CouplingError, first_line, require
from coupling.files import write_atomically
from coupling.models.folder import is_local
from coupling.models.loading import Checkpoint, load
from coupling.models.prompts import Prompts, bundled_prompts
from coupling.models.tokenization import tokenize
from coupling.rl import CouplingCallback
from coupling.settings import Settings
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
    k: tuple[int, ...] = (10,)
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


def defaults_of(folder: str | Path, prompts: Prompts | None = None) -> Defaults:
    """The prompts, K's and initial model of the run of ``coupling rl`` that saved some checkpoints.

    Args:
        folder: see ``find_checkpoints``.
        prompts: prompts that replace the run's own.

    Returns:
        The run's own; for a run of another program the bundled prompts, K = 10, and the model that adapters name.

    Raises:
        CouplingError: if there is no checkpoint, or the run's data cannot be read again.
    """
    checkpoints, _ = find_checkpoints(folder)
    folder = Path(folder).expanduser().resolve()
    for out in list(folder.parents)[:2]:  # run/trainer or, with several seeds, run/trainer/seed-0
        content = read_object(out / SUMMARY).get("config")
        if folder.is_relative_to(out / TRAINER) and isinstance(content, dict):
            config = from_mapping(content, str(out / SUMMARY))
            seed = int(folder.name.removeprefix("seed-")) if folder.name.startswith("seed-") else config.seed
            if prompts is None:
                prompts = _own_prompts(config, seed, out)
            return Defaults(prompts, config.probe.k, initial_model(config, seed))
    return Defaults(bundled_prompts() if prompts is None else prompts, initial=checkpoints[0].base)


def measure_checkpoints(
    folder: str | Path,
    prompts: Prompts,
    *,
    k: Sequence[int] = (10,),
    initial: str | None = None,
    seed: int = 0,
    truncate: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MeasuredCheckpoints:
    """Measure score, chance, excess and mismatch to the initial policy at every checkpoint.

    Args:
        folder: see ``find_checkpoints``.
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
    first_k = int(k[0])
    checkpoints, skipped = find_checkpoints(folder)
    out = _prepare_output(out, folder, overwrite=overwrite)
    logged = _logged_rows(checkpoints[-1].folder, first_k)
    if initial is not None:
        checkpoints = _with_initial(checkpoints, initial)
    table = RunTable(None if out is None else out / TABLE, Path(folder).expanduser().resolve().name)
    summary = _Summary(out, folder, prompts, settings)
    probe: CouplingCallback | None = None
    for index, item in enumerate(checkpoints):
        if progress is not None:
            progress(index, len(checkpoints), item.folder.name)
        try:
            checkpoint = _load(item)
        except CouplingError as error:
            if item.step == 0 and initial is not None:
                raise CouplingError(f"the initial model: {error}; `initial` names another model") from None
            skipped.append(SkippedFolder(item.folder, str(error)))
            continue
        if probe is None:  # the callback that measures during a run; it compares with the first model that it measures
            summary.reference = item.folder.name if initial is None else "the initial model"
            probe = CouplingCallback(tokenize(checkpoint, prompts.texts, truncate=truncate), k=settings.k, seed=seed)
        values = probe.measure(checkpoint.model)
        table.update(None, item.step, logged.get(item.step, {}) | columns_of(values, first_k))
        table.write()
        summary.write(checkpoints, skipped, finished=False)
    if probe is None:
        raise CouplingError("; ".join(f"{item.folder.name}: {item.reason}" for item in skipped))
    summary.write(checkpoints, skipped, finished=True)
    return MeasuredCheckpoints(table.rows(), skipped, summary.reference)


def _own_prompts(config: RunConfig, seed: int, out: Path) -> Prompts:
    """The prompts that a run was measured on."""
    try:
        texts = probe_texts(config.probe, read_rows(config.data, seed))
    except CouplingError as error:
        raise CouplingError(f"the run's own prompts: {error}; `prompts` gives others") from None
    return Prompts(texts, f"the probe of {out.name}")


def _prepare_output(out: str | Path | None, folder: str | Path, *, overwrite: bool) -> Path | None:
    """The folder for the results, which must be apart from the checkpoints: replacing results removes files."""
    if out is None:
        return None
    out = Path(out).expanduser()
    results, checkpoints = out.resolve(), Path(folder).expanduser().resolve()
    if results.is_relative_to(checkpoints) or checkpoints.is_relative_to(results):
        raise CouplingError(
            f"`out` is {out}, but the folder of the checkpoints is {folder}: one contains the other; choose another "
            "folder"
        )
    prepare_folder(out, overwrite=overwrite, replaced=())
    return out


def _logged_rows(last: Path, k: int) -> dict[int, Row]:
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


def _load(item: CheckpointFolder) -> Checkpoint:
    """The model of a checkpoint, with an adapter merged into it.

    Raises:
        CouplingError: if it cannot be loaded, or an adapter does not fit the model that it names.
    """
    if item.base is None:
        return load(str(item.folder), tokenizer=str(item.tokenizer))
    require("peft", purpose="an adapter")
    checkpoint = load(item.base, tokenizer=str(item.tokenizer))
    return replace(checkpoint, model=_merged(item.folder, item.base, checkpoint))


def _merged(adapter: Path, base: str, checkpoint: Checkpoint) -> Any:
    """An adapter merged into its model, which is loaded with its head because adapters name the modules with it."""
    from peft import PeftConfig, get_peft_model

    name = str(Path(base).expanduser()) if is_local(base) else base
    model = checkpoint.model
    whole = AutoModelForCausalLM.from_pretrained(name, dtype=model.dtype, device_map={"": model.device})
    try:
        adapted: Any = get_peft_model(whole, PeftConfig.from_pretrained(str(adapter), inference_mode=True))
        report = adapted.load_adapter(str(adapter), "default")
        merged = adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # a truncated file, shapes of another model, a kind of adapter that cannot be merged
        raise CouplingError(f"the adapter cannot be merged into {base}: {first_line(error)}") from None
    unmatched = [*report.missing_keys, *report.unexpected_keys]
    if unmatched:
        raise CouplingError(f"the adapter does not fit {base}: {len(unmatched)} weights, such as {unmatched[0]}")
    return merged.eval().requires_grad_(False)


@dataclass
class _Summary:
    """The ``run.json`` of a measurement; it is written after each checkpoint, unless there is no output folder."""

    out: Path | None
    folder: str | Path
    prompts: Prompts
    settings: Settings
    reference: str = ""

    def write(self, checkpoints: list[CheckpointFolder], skipped: list[SkippedFolder], *, finished: bool) -> None:
        if self.out is None:
            return
        skipped_folders = {item.folder for item in skipped}
        content = {
            "checkpoints": str(self.folder),
            "finished": finished,
            "measured": {item.folder.name: item.step for item in checkpoints if item.folder not in skipped_folders},
            "skipped": {item.folder.name: item.reason for item in skipped},
            "mismatch_to": self.reference,
            "settings": self.settings.as_dict(),
            "prompts": {"source": self.prompts.source, "count": len(self.prompts.texts)},
            "package_version": __version__,
        }
        write_atomically(self.out / SUMMARY, (json.dumps(content, indent=2) + "\n").encode())
