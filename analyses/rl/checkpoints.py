"""Coupling through a run of RL after the fact, from the checkpoints that it left.

Two layouts are read: TRL's (``checkpoint-100``, as every ``transformers.Trainer`` writes it, the tokenizer inside or
in the parent folder; of a run with adapters these alone, merged here into the model that they name) and FeynRL's
(``iter000001_v000001``, one Hugging Face folder an epoch with ``training_state.json`` and, once it is whole,
``CHECKPOINT_COMPLETE``; see its ``misc/setup_rl.py``).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.data import initial_model, probe_texts, read_rows
from coupling.analyses.rl.log import SUMMARY, TABLE, TRAINER, Row, RunTable, columns_of, prepare_folder
from coupling.errors import CouplingError, first_line
from coupling.files import write_atomically
from coupling.models.folder import TOKENIZER_FILES, is_local
from coupling.models.loading import Checkpoint, load
from coupling.models.prompts import Prompts, bundled_prompts
from coupling.models.tokenization import tokenize
from coupling.rl import CouplingCallback
from coupling.settings import Settings
from coupling.version import __version__

TRL_NAME = re.compile(r"checkpoint-(\d+)")
FEYNRL_NAME = re.compile(r"iter(\d+)_v(\d+)")
FEYNRL_STATE, FEYNRL_MARKER = "training_state.json", "CHECKPOINT_COMPLETE"
TRL_STATE, ADAPTER_CONFIG = "trainer_state.json", "adapter_config.json"

Progress = Callable[[int, int, str], None]
"""Called with (checkpoints measured, checkpoints in all, the name of the one at hand)."""


@dataclass(frozen=True)
class Found:
    """A checkpoint folder: its optimization step, where its tokenizer is, and the model that an adapter belongs to."""

    folder: Path
    step: int
    tokenizer: Path
    base: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A folder that is not measured, and why."""

    folder: Path
    reason: str


def find_checkpoints(folder: str | Path) -> tuple[list[Found], list[Skipped]]:
    """The checkpoints in a folder in order of their steps, and the folders that are none or not whole.

    Args:
        folder: TRL's ``output_dir``, or FeynRL's folder of one experiment.

    Raises:
        CouplingError: if it cannot be read, holds no checkpoint, or two of one step.
    """
    folder = Path(folder).expanduser()
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise CouplingError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    found: list[Found] = []
    skipped: list[Skipped] = []
    for entry in entries:
        outcome = _look_at(entry)
        if isinstance(outcome, Found):
            found.append(outcome)
        else:
            skipped.append(outcome)
    if not found:
        reasons = "; ".join(f"{item.folder.name}: {item.reason}" for item in skipped)
        raise CouplingError(
            f"{folder} holds no checkpoint to measure (expected folders such as checkpoint-100 or iter000001_v000001)"
            + (f": {reasons}" if reasons else "")
            + _elsewhere(folder)
        )
    found.sort(key=lambda item: item.step)
    for before, after in pairwise(found):
        if before.step == after.step:
            raise CouplingError(
                f"{before.folder} and {after.folder} are both of step {after.step}; "
                "keep the checkpoints of one run in a folder"
            )
    return found, skipped


def _elsewhere(folder: Path) -> str:
    """Where below a folder that holds none there are checkpoints: a run's ``trainer``, or its seeds'."""
    places = sorted({path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/checkpoint-*")})
    return f"; there are some in {', '.join(map(str, places))}: give one of these" if places else ""


def _look_at(entry: Path) -> Found | Skipped:
    trl, feynrl = TRL_NAME.fullmatch(entry.name), FEYNRL_NAME.fullmatch(entry.name)
    if trl is None and feynrl is None and not (entry / FEYNRL_STATE).exists():
        return Skipped(entry, "no checkpoint by its name (checkpoint-STEP, iterEPOCH_vVERSION)")
    if trl is None and not (entry / FEYNRL_MARKER).exists():
        return Skipped(entry, f"incomplete: {FEYNRL_MARKER} is not there, so writing it was interrupted")
    base = None
    if not (entry / "config.json").exists():
        if not (entry / ADAPTER_CONFIG).exists():
            return Skipped(entry, "incomplete: no config.json")
        base = _json(entry / ADAPTER_CONFIG).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            return Skipped(entry, f"an adapter whose {ADAPTER_CONFIG} names no model; merge it into its model first")
    if not any(entry.glob("*.safetensors")) and not any(entry.glob("*.bin")):
        adapter = (entry / "adapter").is_dir()
        return Skipped(entry, "an adapter without the model's weights; merge it into them first" if adapter
                       else "incomplete: no weights")  # fmt: skip
    tokenizer = next((place for place in (entry, entry.parent) if _has_tokenizer(place)), None)
    if tokenizer is None:
        return Skipped(entry, "no tokenizer in it or in its parent folder")
    if trl is not None:
        return Found(entry, int(trl[1]), tokenizer, base)
    step = _json(entry / FEYNRL_STATE).get("global_step")
    if not isinstance(step, int):
        return Skipped(entry, f"incomplete: {FEYNRL_STATE} gives no global_step")
    return Found(entry, step, tokenizer, base)


def _has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for pattern in TOKENIZER_FILES for file in folder.glob(pattern))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class Defaults:
    """What is measured where nothing else is asked for.

    Attributes:
        prompts: the run's own, or the bundled ones.
        k: numbers of top singular vectors.
        initial: the model that the run began from, where that is known.
    """

    prompts: Prompts
    k: tuple[int, ...] = (10,)
    initial: str | None = None


def defaults_of(folder: str | Path, prompts: Prompts | None = None) -> Defaults:
    """Prompts, K's and the initial model: those of the run of ``coupling rl`` that the checkpoints are from.

    Args:
        folder: see ``find_checkpoints``.
        prompts: to use instead.

    Returns:
        The run's own; of other people's runs the bundled prompts, K = 10, and the model that adapters name.

    Raises:
        CouplingError: if there is no checkpoint, or the run's data cannot be read again.
    """
    found, _ = find_checkpoints(folder)
    folder = Path(folder).expanduser().resolve()
    for out in list(folder.parents)[:2]:
        content = _json(out / SUMMARY).get("config")
        if folder.is_relative_to(out / TRAINER) and isinstance(content, dict):
            config = from_mapping(content, str(out / SUMMARY))
            seed = int(folder.name.removeprefix("seed-")) if folder.name.startswith("seed-") else config.seed
            if prompts is None:
                try:
                    texts = probe_texts(config.probe, read_rows(config.data, seed))
                except CouplingError as error:
                    raise CouplingError(f"the run's own prompts: {error}; --prompts gives others") from None
                prompts = Prompts(texts, f"the probe of {out.name}")
            return Defaults(prompts, config.probe.k, initial_model(config, seed))
    return Defaults(bundled_prompts() if prompts is None else prompts, initial=found[0].base)


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
) -> tuple[list[Row], list[Skipped]]:
    """Score, chance, excess and mismatch to the initial policy, against step.

    Args:
        folder: see ``find_checkpoints``.
        prompts: texts measured at every checkpoint.
        k: numbers of top singular vectors; the first gives the columns ``score``, ``chance`` and ``excess``,
            the largest ``mismatch_to_initial``.
        initial: the model that the run began from, a folder or hub id, whose row is step 0; None takes the first
            checkpoint in its place (``run.json`` says which).
        seed: of every random draw of the measurement.
        truncate: cut prompts to the model's context.
        out: folder for ``table.csv``, written after each checkpoint, and ``run.json``.
        overwrite: replace a run that is there.
        progress: see ``Progress``.

    Returns:
        A row a checkpoint, in order of steps; with reward, loss and the like where TRL's ``trainer_state.json``
        gives them. And the folders that were not measured, each with its reason.

    Raises:
        CouplingError: if there is no checkpoint, none can be loaded, or the prompts do not suit them.
    """
    settings = Settings(k=tuple(k), seed=seed)
    first_k = int(k[0])
    found, skipped = find_checkpoints(folder)
    place = None if out is None else Path(out).expanduser()
    if place is not None:
        inside, outside = place.resolve(), Path(folder).expanduser().resolve()
        if inside.is_relative_to(outside) or outside.is_relative_to(inside):
            raise CouplingError(
                f"--out {out} and the folder of the checkpoints, {folder}, hold each other; choose another"
            )
        prepare_folder(place, overwrite=overwrite, replaced=())
    table = RunTable(None if place is None else place / TABLE, Path(folder).expanduser().resolve().name)
    probe: CouplingCallback | None = None
    anchor = ""
    logged = _logged(found[-1].folder, first_k)
    if initial is not None:
        start = Path(initial).expanduser().resolve() if is_local(initial) else Path(initial)
        found = [Found(start, 0, found[0].tokenizer), *(item for item in found if item.step > 0)]
    for index, item in enumerate(found):
        if progress is not None:
            progress(index, len(found), item.folder.name)
        try:
            checkpoint = _load(item)
        except CouplingError as error:
            if item.step == 0 and initial is not None:
                raise CouplingError(f"the initial model: {error}; --initial names another") from None
            skipped.append(Skipped(item.folder, str(error)))
            continue
        if probe is None:  # the same measurement as through a run
            anchor = item.folder.name if initial is None else "the initial model"
            probe = CouplingCallback(tokenize(checkpoint, prompts.texts, truncate=truncate), k=settings.k, seed=seed)
        values = probe.measure(checkpoint.model)
        table.update(None, item.step, logged.get(item.step, {}) | columns_of(values, first_k))
        table.write()
        _summarize(place, folder, prompts, settings, found, skipped, anchor, finished=False)
    if probe is None:
        raise CouplingError("; ".join(f"{item.folder.name}: {item.reason}" for item in skipped))
    _summarize(place, folder, prompts, settings, found, skipped, anchor, finished=True)
    return table.rows(), skipped


def _load(item: Found) -> Checkpoint:
    """The model of a checkpoint or the initial one, an adapter merged into it.

    Raises:
        CouplingError: if it cannot be loaded, or an adapter does not belong to the model that it names.
    """
    if item.base is None:
        return load(str(item.folder), tokenizer=str(item.tokenizer))
    try:
        from peft import PeftConfig, get_peft_model
    except ImportError:
        raise CouplingError("an adapter, which needs the peft package: pip install 'block-coupling[lora]'") from None
    checkpoint = load(item.base, tokenizer=str(item.tokenizer))
    place = {"dtype": checkpoint.model.dtype, "device_map": {"": checkpoint.model.device}}
    base = str(Path(item.base).expanduser()) if is_local(item.base) else item.base
    whole = AutoModelForCausalLM.from_pretrained(base, **place)  # adapters name its modules, head and all
    try:
        adapted: Any = get_peft_model(whole, PeftConfig.from_pretrained(str(item.folder), inference_mode=True))
        report = adapted.load_adapter(str(item.folder), "default")
        merged = adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # a file that is cut short, shapes of another model, a kind of adapter that cannot merge
        raise CouplingError(f"the adapter cannot be merged into {item.base}: {first_line(error)}") from None
    strange = [*report.missing_keys, *report.unexpected_keys]
    if strange:
        raise CouplingError(f"the adapter does not fit {item.base}: {len(strange)} weights, such as {strange[0]}")
    return replace(checkpoint, model=merged.eval().requires_grad_(False))


def _logged(last: Path, k: int) -> dict[int, Row]:
    """What TRL logged at each step, from the last checkpoint's state, which holds the whole history."""
    rows: dict[int, Row] = {}
    history = _json(last / TRL_STATE).get("log_history")
    for entry in history if isinstance(history, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            rows.setdefault(entry["step"], {}).update(columns_of(entry, k))
    return rows


def _summarize(
    place: Path | None, folder: str | Path, prompts: Prompts, settings: Settings, found: list[Found],
    skipped: list[Skipped], anchor: str, *, finished: bool,
) -> None:  # fmt: skip
    if place is None:
        return
    gone = {item.folder for item in skipped}
    summary = {
        "checkpoints": str(folder),
        "finished": finished,
        "measured": {item.folder.name: item.step for item in found if item.folder not in gone},
        "skipped": {item.folder.name: item.reason for item in skipped},
        "mismatch_to": anchor,
        "settings": settings.as_dict(),
        "prompts": {"source": prompts.source, "count": len(prompts.texts)},
        "package_version": __version__,
    }
    write_atomically(place / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
