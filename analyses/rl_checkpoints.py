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

import numpy as np
from coupling.analyses.rl_table import SUMMARY, TABLE, Row, RunTable, columns_of, prepare_folder

from coupling.blocks import find_blocks
from coupling.comparison import compare, factor
from coupling.errors import CouplingError
from coupling.load import TOKENIZER_FILES, Checkpoint, load, tokenize
from coupling.metrics import mismatch
from coupling.prompts import Prompts
from coupling.settings import Settings
from coupling.store import write_atomically
from coupling.svd import SingularTriplets
from coupling.trajectory import record_blocks
from coupling.version import __version__

TRL_NAME = re.compile(r"checkpoint-(\d+)")
FEYNRL_NAME = re.compile(r"iter(\d+)_v(\d+)")
FEYNRL_STATE, FEYNRL_MARKER = "training_state.json", "CHECKPOINT_COMPLETE"
TRL_STATE = "trainer_state.json"
NORM = 2

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
        k: numbers of top singular vectors; the first gives the columns ``score``, ``chance``, ``excess`` and
            ``mismatch_to_initial``.
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
        if place.resolve() == Path(folder).expanduser().resolve():
            raise CouplingError(f"--out is the folder of the checkpoints, {folder}; choose another")
        prepare_folder(place, overwrite=overwrite)
    table = RunTable(None if place is None else place / TABLE, Path(folder).expanduser().resolve().name)
    initial: list[list[SingularTriplets]] | None = None
    logged = _logged(found[-1].folder, first_k)
    for index, item in enumerate(found):
        if progress is not None:
            progress(index, len(found), item.folder.name)
        try:
            checkpoint = load(str(item.folder), tokenizer=str(item.tokenizer))
        except CouplingError as error:
            skipped.append(Skipped(item.folder, str(error)))
            continue
        values, triplets = probe(checkpoint, prompts.texts, settings, initial)
        if initial is None:
            initial = triplets
        table.update(None, item.step, logged.get(item.step, {}) | columns_of(values, first_k))
        table.write()
        _summarize(place, folder, prompts, settings, found, skipped, finished=False)
    if initial is None:
        raise CouplingError("; ".join(f"{item.folder.name}: {item.reason}" for item in skipped))
    _summarize(place, folder, prompts, settings, found, skipped, finished=True)
    return table.rows(), skipped


def probe(
    checkpoint: Checkpoint, texts: list[str], settings: Settings, initial: list[list[SingularTriplets]] | None = None
) -> tuple[dict[str, float], list[list[SingularTriplets]]]:
    """Coupling of one model on prompts, and how far each block is from the same block of an earlier model.

    Args:
        checkpoint: the model and its tokenizer.
        texts: the prompts; measured at their last token.
        settings: of kind depth.
        initial: singular triplets of the earlier model by prompt and block; None if this model is the first.

    Returns:
        For every K ``coupling/score_kK_p2`` (as ``coupling.score`` has it), ``coupling/chance_kK_p2``,
        ``coupling/excess_kK_p2`` and ``coupling/mismatch_to_initial_kK_p2``: the mismatch of this model's Jacobians
        in the singular frames of the earlier one's, block by block, averaged over blocks and prompts. And this
        model's triplets.
    """
    _, modules = find_blocks(checkpoint.model)
    all_triplets: list[list[SingularTriplets]] = []
    levels: list[np.ndarray] = []  # a prompt: (mismatch, chance) by k
    drifts: list[np.ndarray] = []
    apart = ~np.eye(len(modules), dtype=bool)
    for index, inputs in enumerate(tokenize(checkpoint, texts)):
        recording = record_blocks(checkpoint.model, modules, inputs)
        if settings.k[-1] > recording.width or len(modules) < 2:
            raise CouplingError(
                f"K is {settings.k[-1]} and the model has {len(modules)} blocks of width {recording.width}: it "
                "needs at least two blocks, and K no more than their width"
            )
        last = recording.n_tokens - 1
        factored = [factor(recording.jacobian(block, last), settings, compared=len(modules))
                    for block in range(len(modules))]  # fmt: skip
        compared = compare(factored, factored, settings.k)
        levels.append(np.stack([compared[name][:, NORM - 1][:, apart].mean(-1) for name in ("mismatch", "chance")]))
        all_triplets.append([item.triplets for item in factored])
        frames = all_triplets[-1] if initial is None else initial[index]
        drift = np.empty((len(settings.k), len(modules)))
        for block, (now, before) in enumerate(zip(factored, frames, strict=True)):
            images = now.operator.matmat(before.right).cpu().double()
            projection = (before.left.mT @ images).numpy()
            values = now.triplets.values.numpy()
            drift[:, block] = [mismatch(projection, values, k=k, norm=NORM) for k in settings.k]
        drifts.append(drift.mean(-1))
    measured, chance = np.mean(levels, axis=0)
    result: dict[str, float] = {}
    for place, k in enumerate(settings.k):
        result[f"coupling/score_k{k}_p{NORM}"] = float(1 - measured[place])
        result[f"coupling/chance_k{k}_p{NORM}"] = float(1 - chance[place])
        result[f"coupling/excess_k{k}_p{NORM}"] = float((chance[place] - measured[place]) / chance[place])
        result[f"coupling/mismatch_to_initial_k{k}_p{NORM}"] = float(np.mean(drifts, axis=0)[place])
    return result, all_triplets


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
