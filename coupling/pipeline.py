"""From a checkpoint's name and its inputs to a measured and saved run: the function behind ``coupling analyze``."""

import time
import warnings
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
from coupling.models.chat import PromptWarning
from coupling.models.images import Images
from coupling.models.inputs import Input, parse_patches
from coupling.models.loading import Checkpoint, load
from coupling.models.parts import Part
from coupling.models.prompts import Prompts
from coupling.models.recording import record_blocks
from coupling.models.sources import fitting_source, given_source, inputs_of
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
    images: Images | Any = None,
    kind: Kind = "depth",
    tokens: Tokens | None = None,
    patch: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
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
    limit: int | None = None,
    progress: Progress | None = None,
    token: Tokens | None = None,
    blocks: str | None = None,
) -> xr.Dataset:
    """Load a checkpoint, measure it on prompts or images, and save the run if ``out`` is given.

    Args:
        model: a local folder, a GGUF file, a folder with a PEFT adapter (it is merged into its base), a hub id, or
            ``timm:`` and the name of one of timm's vision transformers; None for the bundled checkpoint.
        prompts: texts, a file's name (see ``read_prompts``), or None for the bundled set; with ``chat`` also lists of
            messages.
        k: numbers of top singular vectors.
        images: for a model of images: a file, a folder, a glob, an array, or a data set (see ``read_images``), or None
            for the bundled set. Each is prepared by the model's own processor.
        kind: which Jacobians are compared: "depth", "self", "context-input" or "context-output".
        tokens: tokens measured: an index (negative from the end), "last", "all" or several indices. Default: the last
            for kind "depth" (of an image the class token, or the center patch where there is none), all for the other
            kinds.
        patch: for images, in place of ``tokens``: a patch by its row and column, or several.
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
            training to repeat it, and tokens are counted on what it reads. Or "vision": the vision tower of a
            multimodal model, which is measured on images.
        base: the model that an adapter was trained on, where its configuration does not name the right one.
        allow_pickle: read weights that are pickled (.bin); a pickle can run any code.
        truncate: cut prompts to the model's context.
        special_tokens: let the tokenizer add its special tokens, such as BOS, except to a text that begins with that
            token itself.
        chat: render each prompt with the model's own chat template, as the message of a user before the answer; the
            special tokens are then those of the template.
        random_weights: measure the untrained model: the checkpoint's configuration, with weights drawn from the seed.
        detail: which prompts keep what the pictures ``grid`` and ``trajectory`` draw; see ``measure``.
        limit: use only the first prompts or images.
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
    patches = parse_patches(patch)
    if patches and tokens is not None:
        raise CouplingError("`patch` and `tokens` both say what is measured; give one of them")
    source = given_source(prompts, images, chat=chat, limit=limit)
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
    source = fitting_source(checkpoint, source, limit)
    inputs, digest = inputs_of(
        checkpoint,
        source,
        patches,
        chat=chat,
        truncate=truncate,
        special_tokens=special_tokens,
        keep_pictures=detail != "none",
    )
    attributes = provenance(checkpoint.model, settings) | {
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "weights": "random" if random_weights else "trained",
        "weights_format": checkpoint.weights_format,
        "prompts": source.source,
        "prompts_hash": digest,
        "chat": int(chat),  # NetCDF has no truth values
        "special_tokens": int(special_tokens and not chat and not isinstance(source, Images)),
    }
    if checkpoint.adapter:
        attributes |= {"adapter": checkpoint.adapter, "base": checkpoint.base}
    if part is not None:
        attributes["part"] = part
    identity = settings.as_dict() | attributes | {"truncate": truncate, "block_list": block_list, "detail": detail}
    if patches:
        identity["patch"] = patches
    folder = RunFolder(place, identity, overwrite=overwrite, resume=resume) if place is not None else None
    if folder is not None and folder.complete:
        folder.discard_parts()
        return open_run(folder.folder)
    load_seconds = time.perf_counter() - started
    _, modules = find_blocks(checkpoint.model, checkpoint.block_list)
    session = _Session(checkpoint, modules, settings, DetailBudget(detail), folder, progress)
    try:
        measured = [session.measure(index, inputs) for index in range(len(inputs))]
        parts = [part for part in measured if part is not None]
        if not parts:
            raise CouplingError(f"no image could be measured: {session.left_out[0]}")
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
            "prompts": {"source": source.source, "count": len(inputs)},
            "timings": session.timings(load_seconds),
            "environment": environment("torch", "transformers", "numpy", "scipy", "xarray"),
        }
        folder.finish(run, summary)
    return run


class _Session:
    """Measures the inputs of one command, except those that an earlier start of the command has measured."""

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
        self.left_out: list[str] = []

    def measure(self, index: int, inputs: Sequence[Input]) -> xr.Dataset | None:
        """One input's Dataset, saved as a part of the run where it has a folder; None for an image that is left out."""
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
            arguments = inputs[index].arguments()
        except CouplingError as error:
            if len(inputs) == 1:
                raise CouplingError(f"{inputs[index].name}: {error}") from None
            self.left_out.append(f"{inputs[index].name}: {error}")
            warnings.warn(f"{self.left_out[-1]}; it is left out", PromptWarning, stacklevel=3)
            return None
        try:
            recording = record_blocks(self.checkpoint.model, self.modules, arguments)
            settings = inputs[index].settings(self.settings, arguments, recording.n_tokens)
            part = measure_recording(recording, settings, on_jacobian, self.budget)
            inputs[index].describe(part, arguments, self.settings)
        except CouplingError as error:
            which = f"image {index} ({inputs[index].name})" if self.checkpoint.processor else f"prompt {index}"
            raise CouplingError(f"{which}: {error}") from None
        self.seconds.append(time.perf_counter() - before)
        if self.folder is not None:
            self.folder.keep(index, part)
        return part

    def timings(self, load_seconds: float) -> dict[str, Any]:
        """Seconds of loading and measuring; None for prompts that were measured earlier."""
        return {
            "load_seconds": round(load_seconds, 3),
            "measure_seconds": round(sum(s for s in self.seconds if s is not None), 3),
            "prompt_seconds": [None if s is None else round(s, 3) for s in self.seconds],
        }
