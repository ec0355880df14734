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
from coupling.measurement import measure_recording
from coupling.models.blocks import find_blocks
from coupling.models.chat import render
from coupling.models.loading import Checkpoint, load
from coupling.models.parts import Part
from coupling.models.prompts import Prompts, read_prompts
from coupling.models.recording import record_blocks
from coupling.models.tokenization import tokenize
from coupling.provenance import provenance
from coupling.run_folder import RunFolder, check_run_folder, open_run
from coupling.settings import Settings, Tokens, normalize_k

Progress = Callable[[int, int, int, int], None]
"""Called with (prompt, number of prompts, Jacobians done, Jacobians in total of this prompt)."""


def analyze(
    model: str | None = None,
    prompts: Prompts | str | Sequence[Any] | None = None,
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
    part: Part | None = None,
    base: str | None = None,
    allow_pickle: bool = False,
    truncate: bool = False,
    special_tokens: bool = True,
    chat: bool = False,
    random_weights: bool = False,
    detail: Detail = "auto",
    progress: Progress | None = None,
    token: Tokens | None = None,
    blocks: str | None = None,
) -> xr.Dataset:
    """Load a checkpoint, measure it on prompts, and save the run if ``out`` is given.

    Args:
        model: a local folder, a GGUF file, a folder with a PEFT adapter (it is merged into its base), or a hub id; None
            for the bundled checkpoint.
        prompts: texts, a file's name (see ``read_prompts``), or None for the bundled set; with ``chat`` also lists of
            messages.
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
        part: the half of an encoder-decoder model that is measured: "encoder" or "decoder". The encoder reads the
            prompt in both cases; the decoder reads the start token and then the prompt without its last token, as in
            training to repeat it, and tokens are counted on what it reads.
        base: the model that an adapter was trained on, where its configuration does not name the right one.
        allow_pickle: read weights that are pickled (.bin); a pickle can run any code.
        truncate: cut prompts to the model's context.
        special_tokens: let the tokenizer add its special tokens, such as BOS, except to a text that begins with that
            token itself.
        chat: render each prompt with the model's own chat template, as the message of a user before the answer; the
            special tokens are then those of the template.
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
    source = prompts if isinstance(prompts, Prompts) else read_prompts(prompts, chat=chat)
    if source.conversations is not None and not chat:
        raise CouplingError(f"the prompts of {source.source} are lists of messages; `chat=True` renders them")
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
        part=part,
        base=base,
        allow_pickle=allow_pickle,
        random_weights=settings.seed if random_weights else None,
    )
    texts = render(checkpoint.tokenizer, checkpoint.name, source.as_chats()) if chat else source.texts
    inputs = tokenize(checkpoint, texts, truncate=truncate, special_tokens=special_tokens and not chat)
    attributes = provenance(checkpoint.model, settings) | {
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "weights": "random" if random_weights else "trained",
        "weights_format": checkpoint.weights_format,
        "prompts": source.source,
        "prompts_hash": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        "chat": int(chat),  # NetCDF has no truth values
        "special_tokens": int(special_tokens and not chat),
    }
    if checkpoint.adapter:
        attributes |= {"adapter": checkpoint.adapter, "base": checkpoint.base}
    if part is not None:
        attributes["part"] = part
    identity = settings.as_dict() | attributes | {"truncate": truncate, "block_list": block_list, "detail": detail}
    folder = RunFolder(place, identity, overwrite=overwrite, resume=resume) if place is not None else None
    if folder is not None and folder.complete:
        folder.discard_parts()
        return open_run(folder.folder)
    load_seconds = time.perf_counter() - started
    _, modules = find_blocks(checkpoint.model, checkpoint.block_list)
    session = _Session(checkpoint, modules, settings, DetailBudget(detail), folder, progress)
    try:
        parts = [session.measure(index, inputs, texts) for index in range(len(inputs))]
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
            "prompts": {"source": source.source, "count": len(texts)},
            "timings": session.timings(load_seconds),
            "environment": environment("torch", "transformers", "numpy", "scipy", "xarray"),
        }
        folder.finish(run, summary)
    return run


def storable(text: str) -> str:
    """A text as NetCDF can store it: a NUL character is shown by its symbol."""
    return text.replace("\0", "\u2400")


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
        part["prompt_text"] = ((), storable(texts[index]))
        part["token_text"] = (("token",), self._token_texts(inputs[index]))
        self.seconds.append(time.perf_counter() - before)
        if self.folder is not None:
            self.folder.keep(index, part)
        return part

    def _token_texts(self, prompt: dict[str, Any]) -> list[str]:
        tokenizer: Any = self.checkpoint.tokenizer
        in_decoder = "decoder" in (self.checkpoint.block_list or "").split(".")
        ids = prompt["decoder_input_ids" if in_decoder and "decoder_input_ids" in prompt else "input_ids"]
        pieces = tokenizer.convert_ids_to_tokens(ids[0].tolist())
        return [storable(tokenizer.convert_tokens_to_string([piece])) for piece in pieces]

    def timings(self, load_seconds: float) -> dict[str, Any]:
        """Seconds of loading and measuring; None for prompts that were measured earlier."""
        return {
            "load_seconds": round(load_seconds, 3),
            "measure_seconds": round(sum(s for s in self.seconds if s is not None), 3),
            "prompt_seconds": [None if s is None else round(s, 3) for s in self.seconds],
        }
