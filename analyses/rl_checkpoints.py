"""Coupling through a run of RL after the fact, from the checkpoints that it left.

Two layouts are read: TRL's (``checkpoint-100``, as every ``transformers.Trainer`` writes it, the tokenizer inside or
in the parent folder) and FeynRL's (``iter000001_v000001``, one Hugging Face folder an epoch with
``training_state.json`` and, once it is whole, ``CHECKPOINT_COMPLETE``; see its ``misc/setup_rl.py``).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from coupling.analyses.rl_table import SUMMARY, TABLE, Row, RunTable, columns_of, prepare_folder

from coupling.errors import CouplingError
from coupling.load import TOKENIZER_FILES, load, tokenize
from coupling.prompts import Prompts
from coupling.rl import CouplingCallback
from coupling.settings import Settings
from coupling.store import write_atomically
from coupling.version import __version__

TRL_NAME = re.compile(r"checkpoint-(\d+)")
FEYNRL_NAME = re.compile(r"iter(\d+)_v(\d+)")
FEYNRL_STATE, FEYNRL_MARKER = "training_state.json", "CHECKPOINT_COMPLETE"
TRL_STATE = "trainer_state.json"

Progress = Callable[[int, int, str], None]
"""Called with (checkpoints measured, checkpoints in all, the name of the one at hand)."""


@dataclass(frozen=True)
class Found:
    """A checkpoint folder: its optimisation step, and where its tokenizer is."""

    folder: Path
    step: int
    tokenizer: Path


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
        )
    found.sort(key=lambda item: item.step)
    for before, after in pairwise(found):
        if before.step == after.step:
            raise CouplingError(
                f"{before.folder} and {after.folder} are both of step {after.step}; "
                "keep the checkpoints of one run in a folder"
            )
    return found, skipped


def _look_at(entry: Path) -> Found | Skipped:
    trl, feynrl = TRL_NAME.fullmatch(entry.name), FEYNRL_NAME.fullmatch(entry.name)
    if trl is None and feynrl is None and not (entry / FEYNRL_STATE).exists():
        return Skipped(entry, "no checkpoint by its name (checkpoint-STEP, iterEPOCH_vVERSION)")
    if trl is None and not (entry / FEYNRL_MARKER).exists():
        return Skipped(entry, f"incomplete: {FEYNRL_MARKER} is not there, so writing it was interrupted")
    if not (entry / "config.json").exists():
        adapter = (entry / "adapter_config.json").exists()
        return Skipped(entry, "an adapter without the model's weights; merge it into them first" if adapter
                       else "incomplete: no config.json")  # fmt: skip
    if not any(entry.glob("*.safetensors")) and not any(entry.glob("*.bin")):
        adapter = (entry / "adapter").is_dir()
        return Skipped(entry, "an adapter without the model's weights; merge it into them first" if adapter
                       else "incomplete: no weights")  # fmt: skip
    tokenizer = next((place for place in (entry, entry.parent) if _has_tokenizer(place)), None)
    if tokenizer is None:
        return Skipped(entry, "no tokenizer in it or in its parent folder")
    if trl is not None:
        return Found(entry, int(trl[1]), tokenizer)
    step = _json(entry / FEYNRL_STATE).get("global_step")
    if not isinstance(step, int):
        return Skipped(entry, f"incomplete: {FEYNRL_STATE} gives no global_step")
    return Found(entry, step, tokenizer)


def _has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for pattern in TOKENIZER_FILES for file in folder.glob(pattern))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def measure_checkpoints(
    folder: str | Path,
    prompts: Prompts,
    *,
    k: Sequence[int] = (10,),
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Row], list[Skipped]]:
    """Score, chance, excess and mismatch to the first checkpoint, against step.

    Args:
        folder: see ``find_checkpoints``.
        prompts: texts measured at every checkpoint.
        k: numbers of top singular vectors; the first gives the columns ``score``, ``chance`` and ``excess``,
            the largest ``mismatch_to_initial``.
        seed: of every random draw of the measurement.
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
    logged = _logged(found[-1].folder, first_k)
    for index, item in enumerate(found):
        if progress is not None:
            progress(index, len(found), item.folder.name)
        try:
            checkpoint = load(str(item.folder), tokenizer=str(item.tokenizer))
        except CouplingError as error:
            skipped.append(Skipped(item.folder, str(error)))
            continue
        if (
            probe is None
        ):  # the same measurement as through a run, and the first checkpoint in the initial policy's place
            probe = CouplingCallback(tokenize(checkpoint, prompts.texts), k=settings.k, seed=seed)
        values = probe.measure(checkpoint.model)
        table.update(None, item.step, logged.get(item.step, {}) | columns_of(values, first_k))
        table.write()
        _summarize(place, folder, prompts, settings, found, skipped, finished=False)
    if probe is None:
        raise CouplingError("; ".join(f"{item.folder.name}: {item.reason}" for item in skipped))
    _summarize(place, folder, prompts, settings, found, skipped, finished=True)
    return table.rows(), skipped


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
    skipped: list[Skipped], *, finished: bool,
) -> None:  # fmt: skip
    if place is None:
        return
    gone = {item.folder for item in skipped}
    summary = {
        "checkpoints": str(folder),
        "finished": finished,
        "measured": {item.folder.name: item.step for item in found if item.folder not in gone},
        "skipped": {item.folder.name: item.reason for item in skipped},
        "settings": settings.as_dict(),
        "prompts": {"source": prompts.source, "count": len(prompts.texts)},
        "package_version": __version__,
    }
    write_atomically(place / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
