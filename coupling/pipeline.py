"""From a checkpoint's name and its inputs to a measured and saved run: the function behind ``coupling analyze``."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from coupling.choices import DEFAULT_K, DEFAULT_TOL, Detail, Dtype, Engine, Kind, PresetName
from coupling.errors import CouplingError, renamed, require
from coupling.models.images import Images
from coupling.models.inputs import parse_patches
from coupling.models.loading import load
from coupling.models.narrow import narrow_of
from coupling.models.parts import Part
from coupling.models.prompts import Prompts
from coupling.models.sources import fitting_source, given_source, inputs_of
from coupling.models.stream_loading import Stream
from coupling.presets import preset_settings
from coupling.provenance import provenance, tokenizer_hash
from coupling.resources import DEFAULT_MEMORY, DEFAULT_RESOURCES, BatchSize, Resources, parse_bytes
from coupling.run_folder import writing
from coupling.session import Progress, Session
from coupling.settings import Settings, Tokens
from coupling.shares import K, normalize_k
from coupling.untrusted import expanded


def analyze(
    model: str | None = None,
    prompts: Prompts | str | Sequence[Any] | None = None,
    k: K | Sequence[K] = DEFAULT_K,
    *,
    images: Images | Any = None,
    preset: PresetName | None = None,
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
    baselines: bool = False,
    limit: int | None = None,
    stream: Stream = "auto",
    batch_size: BatchSize = "auto",
    memory_budget: int | str = DEFAULT_MEMORY,
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
        k: numbers of top singular vectors, or shares of the width: "10%" is d // 10.
        images: for a model of images: a file, a folder, a glob, an array, or a data set (see ``read_images``), or None
            for the bundled set. Each is prepared by the model's own processor.
        preset: in place of ``k``, ``kind`` and ``tokens``: "paper" for K = 10% of the width across depth, at the last
            token, whose score at p = 1 is in all likelihood what the paper's published points are.
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
        out: folder to save the run in; each prompt is saved as soon as it is measured. One process at a time writes to
            a folder.
        overwrite: replace a run that ``out`` already contains.
        resume: continue the run that ``out`` contains, given the same arguments: measure what is missing of it, and
            prompts that follow those that it has.
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
        baselines: also measure what coupling is compared with: the loss on the prompts, and properties of Jacobians,
            residual stream and weights (``coupling.choices.BASELINES``). It needs the extra ``baselines``.
        limit: use only the first prompts or images.
        stream: read the blocks from disk one at a time, and pass all prompts through each before the next is read, so
            that a model larger than the memory can be measured; the numbers are the same to rounding. "auto" does so
            where the weights do not fit into the device's memory.
        batch_size: how many prompts of equal length are measured together; see ``measure``.
        memory_budget: bytes, or a size such as "2GB", for Jacobians and the passes that make them; see ``measure``.
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
    if preset is not None:
        k, kind, tokens = preset_settings(preset, k=k, kind=kind, tokens=tokens).values()
    settings = Settings(normalize_k(k), kind, tokens, fixed_token, tuple(block_pairs), engine, tol, seed)
    patches = parse_patches(patch)
    if patches and tokens is not None:
        raise CouplingError("`patch` and `tokens` both say what is measured; give one of them")
    given = given_source(prompts, images, chat=chat, limit=limit)
    place = expanded(out) if out is not None else None
    options: dict[str, Any] = {"truncate": truncate, "block_list": block_list, "detail": detail}
    options |= ({"patch": patches} if patches else {}) | ({"baselines": True} if baselines else {})
    resources = Resources(batch_size, parse_bytes(memory_budget))
    if resources != DEFAULT_RESOURCES:  # numbers depend on them in their last digits
        options["resources"] = asdict(resources)
    if baselines:
        require("powerlaw", purpose="`baselines`")
        if stream is True:
            raise CouplingError("`baselines` needs the whole model in memory, and `stream` keeps it on disk")
        stream = False
    # The folder is checked and locked before a large model is loaded for nothing.
    with writing(place, overwrite=overwrite, resume=resume) if place is not None else nullcontext():
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
            stream=stream,
            narrow=not baselines,
        )
        source = fitting_source(checkpoint, given, limit)
        bar: Any = progress
        if hasattr(bar, "word"):
            bar.word = "prompt" if checkpoint.processor is None else "image"
        offloaded, narrow = checkpoint.offloaded, narrow_of(checkpoint.model)
        known = {} if offloaded is None else {"weights_hash": offloaded.checked_hash()}
        if narrow is not None:
            known = {"weights_hash": narrow.hash(checkpoint.model), "dtype": "float32"}
        origin = (
            provenance(checkpoint.model, settings, hash_weights=not known)
            | known
            | {
                "model": checkpoint.name,
                "revision": checkpoint.revision,
                "weights": "random" if random_weights else "trained",
                "weights_format": checkpoint.weights_format,
                "chat": int(chat),  # NetCDF has no truth values
                "special_tokens": int(special_tokens and not chat and not isinstance(source, Images)),
            }
        )
        if checkpoint.processor is not None:
            origin["processor_hash"] = checkpoint.processor.digest
        else:
            origin["tokenizer_hash"] = tokenizer_hash(checkpoint.tokenizer)
        if checkpoint.adapter:
            origin |= {"adapter": checkpoint.adapter, "base": checkpoint.base}
        origin |= {"part": part} if part is not None else {}
        origin |= {"preset": preset} if preset is not None else {}
        inputs = inputs_of(
            checkpoint,
            source,
            patches,
            chat=chat,
            truncate=truncate,
            special_tokens=special_tokens,
            keep_pictures=detail != "none",
        )
        session = Session(checkpoint, settings, inputs, progress, baselines=baselines, resources=resources)
        session.load_seconds = time.perf_counter() - started
        return session.run(origin, source.source, place, options, overwrite=overwrite, resume=resume)
