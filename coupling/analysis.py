"""From a checkpoint's name and prompts to a measured, saved run: what ``coupling analyze`` calls."""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from coupling.blocks import find_blocks
from coupling.detail import Detail, DetailBudget
from coupling.errors import CouplingError
from coupling.layout import join_prompts
from coupling.load import Checkpoint, load, tokenize
from coupling.measurement import measure_recording, provenance
from coupling.prompts import Prompts, read_prompts
from coupling.settings import Settings
from coupling.store import RunFolder, check_folder, open_run
from coupling.trajectory import record_blocks

Progress = Callable[[int, int, int, int], None]
"""Called with (prompt, prompts in all, Jacobians done, Jacobians in all of this prompt)."""


def analyze(
    model: str | None = None,
    prompts: Prompts | str | Sequence[str] | None = None,
    k: int | Sequence[int] = (10,),
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    blocks: str | None = None,
    truncate: bool = False,
    random_weights: bool = False,
    detail: Detail = "auto",
    progress: Progress | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Load a checkpoint, measure it on prompts, and save the run if ``out`` is given.

    Args:
        model: a local folder or a hub id; None for the bundled checkpoint.
        prompts: texts, a file's name (see ``read_prompts``), or None for the bundled set.
        k: numbers of top singular vectors.
        out: folder to save the run in; each prompt is kept as soon as it is measured.
        overwrite: replace a run that is there.
        resume: go on with an unfinished run that is there, under the same arguments.
        revision: see ``load``.
        dtype: see ``load``.
        device: see ``load``.
        trust_remote_code: see ``load``.
        blocks: see ``load``.
        truncate: cut prompts to the model's context.
        random_weights: measure the untrained model: the checkpoint's configuration, weights drawn from the seed.
        detail: which prompts keep what the pictures ``grid`` and ``trajectory`` draw; see ``measure``.
        progress: see ``Progress``.
        **settings: the fields of ``coupling.settings.Settings``: kind, token, fixed_token, block_pairs, engine,
            tol, seed.

    Returns:
        The Dataset; see the README for its layout.

    Raises:
        CouplingError: if the model, the prompts, a setting or the folder is at fault.
    """
    chosen = Settings(k=(k,) if isinstance(k, (int, np.integer)) else tuple(k), **settings)
    texts = prompts if isinstance(prompts, Prompts) else read_prompts(prompts)
    place = Path(out).expanduser() if out is not None else None
    if place is not None:
        check_folder(place, overwrite=overwrite, resume=resume)  # before a large model is loaded for nothing
    started = time.perf_counter()
    checkpoint = load(
        model, revision=revision, dtype=dtype, device=device, trust_remote_code=trust_remote_code, blocks=blocks,
        random_weights=chosen.seed if random_weights else None,
    )  # fmt: skip
    inputs = tokenize(checkpoint, texts.texts, truncate=truncate)
    attributes = provenance(checkpoint.model, chosen) | {
        "model": checkpoint.name, "revision": checkpoint.revision,
        "weights": "random" if random_weights else "trained",
    }  # fmt: skip
    identity = chosen.as_dict() | attributes | {
        "prompts": texts.source,
        "prompts_hash": hashlib.sha256("\0".join(texts.texts).encode()).hexdigest(),
        "truncate": truncate,
        "blocks": blocks,
        "detail": detail,
    }  # fmt: skip
    folder = RunFolder(place, identity, overwrite=overwrite, resume=resume) if place is not None else None
    if folder is not None and folder.complete:
        folder.discard_parts()
        return open_run(folder.folder)
    loaded = time.perf_counter()
    run, seconds = _measure(checkpoint, inputs, texts, chosen, blocks, DetailBudget(detail), folder, progress)
    run.attrs |= attributes | {"prompts": texts.source, "prompts_hash": identity["prompts_hash"]}
    if folder is not None:
        folder.finish(run, {
            "settings": chosen.as_dict(),
            "provenance": run.attrs,
            "prompts": {"source": texts.source, "count": len(texts.texts)},
            "timings": {
                "load_seconds": round(loaded - started, 3),
                "measure_seconds": round(sum(s for s in seconds if s is not None), 3),
                "prompt_seconds": [None if s is None else round(s, 3) for s in seconds],
            },
            "environment": {
                "python": platform.python_version(),
                "platform": platform.platform(),
                **{name: version(name) for name in ("torch", "transformers", "numpy", "scipy", "xarray")},
            },
        })  # fmt: skip
    return run


def _measure(
    checkpoint: Checkpoint,
    inputs: list[dict[str, Any]],
    texts: Prompts,
    settings: Settings,
    blocks: str | None,
    budget: DetailBudget,
    folder: RunFolder | None,
    progress: Progress | None,
) -> tuple[xr.Dataset, list[float | None]]:
    """Measure what is not measured yet; seconds are None where an earlier start of the command did."""
    _, modules = find_blocks(checkpoint.model, blocks)
    parts: list[xr.Dataset] = []
    seconds: list[float | None] = []
    for index, prompt in enumerate(inputs):
        part = folder.part(index) if folder is not None else None
        if part is not None:
            seconds.append(None)
            budget.count(part)
            if progress is not None:
                progress(index, len(inputs), 1, 1)
        else:
            before = time.perf_counter()

            def on_block(done: int, total: int, at: int = index) -> None:
                if progress is not None:
                    progress(at, len(inputs), done, total)

            try:
                part = measure_recording(record_blocks(checkpoint.model, modules, prompt), settings, on_block, budget)
            except CouplingError as error:
                raise CouplingError(f"prompt {index}: {error}") from None
            tokens = checkpoint.tokenizer.convert_ids_to_tokens(prompt["input_ids"][0].tolist())
            part["prompt_text"] = ((), texts.texts[index])
            part["token_text"] = (("token",), [checkpoint.tokenizer.convert_tokens_to_string([t]) for t in tokens])
            seconds.append(time.perf_counter() - before)
            if folder is not None:
                folder.keep(index, part)
        parts.append(part)
    return join_prompts(parts), seconds
