"""From a checkpoint's name and prompts to a measured and saved run: the function behind ``coupling analyze``."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from coupling.choices import DEFAULT_K, DEFAULT_TOL, Detail, Dtype, Engine, Kind
from coupling.dataset import join_prompts
from coupling.detail import DetailBudget
from coupling.errors import CouplingError, renamed
from coupling.files import environment
from coupling.measurement import measure_recording, provenance
from coupling.models.blocks import find_blocks
from coupling.models.loading import Checkpoint, load
from coupling.models.prompts import Prompts, read_prompts
from coupling.models.recording import record_blocks
from coupling.models.tokenization import tokenize
from coupling.run_folder import RunFolder, check_run_folder, open_run
from coupling.settings import Settings, Tokens, normalize_k

Progress = Callable[[int, int, int, int], None]
"""Called with (prompt, number of prompts, Jacobians done, Jacobians in total of this prompt)."""


def analyze(
    model: str | None = None,
    prompts: Prompts | str | Sequence[str] | None = None,
    k: int | Sequence[int] = DEFAULT_K,
    *,
    kind: Kind = "depth",
    tokens: Tokens | None = None,
    fixed_token: int | Literal["last"] | None = None,
    block_pairs: Sequence[tuple[int, int]] = (),
    engine: Engine = "auto",
    tol: float = DEFAULT_TOL,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    revision: str | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    block_list: str | None = None,
    truncate: bool = False,
    random_weights: bool = False,
    detail: Detail = "auto",
    progress: Progress | None = None,
    token: Tokens | None = None,
    blocks: str | None = None,
) -> xr.Dataset:
    """Load a checkpoint, measure it on prompts, and save the run if ``out`` is given.

    Args:
        model: a local folder or a hub id; None for the bundled checkpoint.
        prompts: texts, a file's name (see ``read_prompts``), or None for the bundled set.
        k: numbers of top singular vectors.
        kind: which Jacobians are compared: "depth", "self", "context-input" or "context-output".
        tokens: tokens measured: an index (negative from the end), "last", "all" or several indices. Default: the last
            for kind "depth", all for the other kinds.
        fixed_token: the token that a context kind keeps fixed.
        block_pairs: pairs of blocks for kind "self"; default: each block with itself.
        engine: how singular vectors are found: "auto", "dense" or "matrix-free".
        tol: relative residual at which the matrix-free engine stops.
        seed: seed of every random draw.
        out: folder to save the run in; each prompt is saved as soon as it is measured.
        overwrite: replace a run that ``out`` already contains.
        resume: continue an unfinished run that ``out`` contains, given the same arguments.
        revision: a branch, tag or commit of a hub repository.
        dtype: precision of the model's passes; "auto" widens half precision to float32.
        device: "auto" for an accelerator if there is one, or a torch device.
        trust_remote_code: run model code that the repository brings along.
        block_list: name of the list of residual blocks, such as "model.layers", where it cannot be found.
        truncate: cut prompts to the model's context.
        random_weights: measure the untrained model: the checkpoint's configuration, with weights drawn from the seed.
        detail: which prompts keep what the pictures ``grid`` and ``trajectory`` draw; see ``measure``.
        progress: see ``Progress``.
        token: the former name of ``tokens``.
        blocks: the former name of ``block_list``.

    Returns:
        The Dataset; the documentation lists its variables.

    Raises:
        CouplingError: if the model, the prompts, a setting or the folder cannot be used.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os", "def main():"], k=(3, 5))  # the bundled checkpoint
        >>> dict(run.sizes)["block"], run.k.values.tolist()
        (8, [3, 5])
    """
    tokens = renamed("token", token, "tokens", tokens)
    block_list = renamed("blocks", blocks, "block_list", block_list)
    settings = Settings(normalize_k(k), kind, tokens, fixed_token, tuple(block_pairs), engine, tol, seed)
    texts = prompts if isinstance(prompts, Prompts) else read_prompts(prompts)
    place = Path(out).expanduser() if out is not None else None
    if place is not None:
        check_run_folder(place, overwrite=overwrite, resume=resume)  # before a large model is loaded for nothing
    started = time.perf_counter()
    checkpoint = load(
        model,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        block_list=block_list,
        random_weights=settings.seed if random_weights else None,
    )
    inputs = tokenize(checkpoint, texts.texts, truncate=truncate)
    attributes = provenance(checkpoint.model, settings) | {
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "weights": "random" if random_weights else "trained",
        "prompts": texts.source,
        "prompts_hash": hashlib.sha256("\0".join(texts.texts).encode()).hexdigest(),
    }
    identity = settings.as_dict() | attributes | {"truncate": truncate, "block_list": block_list, "detail": detail}
    folder = RunFolder(place, identity, overwrite=overwrite, resume=resume) if place is not None else None
    if folder is not None and folder.complete:
        folder.discard_parts()
        return open_run(folder.folder)
    load_seconds = time.perf_counter() - started
    _, modules = find_blocks(checkpoint.model, block_list)
    session = _Session(checkpoint, modules, settings, DetailBudget(detail), folder, progress)
    try:
        parts = [session.measure(index, inputs, texts.texts) for index in range(len(inputs))]
    except CouplingError:
        if folder is not None:
            folder.abandon()  # nothing is left of a command that fails before it has measured anything
        raise
    run = join_prompts(parts)
    run.attrs |= attributes
    if folder is not None:
        summary = {
            "settings": settings.as_dict(),
            "provenance": run.attrs,
            "prompts": {"source": texts.source, "count": len(texts.texts)},
            "timings": session.timings(load_seconds),
            "environment": environment("torch", "transformers", "numpy", "scipy", "xarray"),
        }
        folder.finish(run, summary)
    return run


class _Session:
    """Measures the prompts of one command, except those that an earlier start of the command has measured."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        modules: list[Any],
        settings: Settings,
        budget: DetailBudget,
        folder: RunFolder | None,
        progress: Progress | None,
    ) -> None:
        self.checkpoint, self.modules, self.settings, self.budget = checkpoint, modules, settings, budget
        self.folder, self.progress = folder, progress
        self.seconds: list[float | None] = []

    def measure(self, index: int, inputs: list[dict[str, Any]], texts: list[str]) -> xr.Dataset:
        """One prompt's Dataset; saved as a part of the run where it has a folder."""
        part = self.folder.part(index) if self.folder is not None else None
        if part is not None:
            self.seconds.append(None)
            self.budget.count(part)
            if self.progress is not None:
                self.progress(index, len(inputs), 1, 1)
            return part
        before = time.perf_counter()

        def on_jacobian(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(index, len(inputs), done, total)

        try:
            recording = record_blocks(self.checkpoint.model, self.modules, inputs[index])
            part = measure_recording(recording, self.settings, on_jacobian, self.budget)
        except CouplingError as error:
            raise CouplingError(f"prompt {index}: {error}") from None
        part["prompt_text"] = ((), texts[index])
        part["token_text"] = (("token",), self._token_texts(inputs[index]))
        self.seconds.append(time.perf_counter() - before)
        if self.folder is not None:
            self.folder.keep(index, part)
        return part

    def _token_texts(self, prompt: dict[str, Any]) -> list[str]:
        tokenizer: Any = self.checkpoint.tokenizer
        pieces = tokenizer.convert_ids_to_tokens(prompt["input_ids"][0].tolist())
        return [tokenizer.convert_tokens_to_string([piece]) for piece in pieces]

    def timings(self, load_seconds: float) -> dict[str, Any]:
        """Seconds of loading and measuring; None for prompts that were measured earlier."""
        return {
            "load_seconds": round(load_seconds, 3),
            "measure_seconds": round(sum(s for s in self.seconds if s is not None), 3),
            "prompt_seconds": [None if s is None else round(s, 3) for s in self.seconds],
        }
