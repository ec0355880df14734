"""Load a checkpoint with its tokenizer or image processor: from a folder, a GGUF file, an adapter, timm or the hub.

This file is long because every way to load ends in the same checks, in the same order.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from coupling.choices import DTYPES, Dtype
from coupling.errors import CouplingError
from coupling.models import adapters, formats
from coupling.models.blocks import find_blocks
from coupling.models.checkpoint import Checkpoint
from coupling.models.devices import resolve_device
from coupling.models.folder import Found, check_checkpoint_folder, check_tokenizer_folder, has_tokenizer, is_local
from coupling.models.folder import loadable as loadable_folder
from coupling.models.hub import commit_of, materialize
from coupling.models.image_models import check_widths, load_timm_checkpoint, takes_images
from coupling.models.image_processing import check_processor_folder, load_processor
from coupling.models.narrow import Narrow, is_worth_narrowing
from coupling.models.offloading import Offloaded, offloaded_names
from coupling.models.parts import HALVES, PARTS, Part, check_halves, part_list, vision_tower
from coupling.models.size import check_counts, check_size
from coupling.models.stream_loading import Stream, check_stream, is_streamed, load_offloaded, why_not
from coupling.models.timm import timm_source
from coupling.models.translation import call
from coupling.models.weights import check_stored_types, check_weights
from coupling.untrusted import expanded, quoted, read_json

BUNDLED = "bundled"


@dataclass(frozen=True)
class _Options:
    """How a model is loaded."""

    dtype: Dtype
    device: str
    trust_remote_code: bool
    random_weights: int | None
    allow_pickle: bool
    stream: Stream = False
    narrow: bool = False


@dataclass(frozen=True)
class _Source:
    """What the user named, and what transformers is given for it.

    Attributes:
        name: the name, as it is reported.
        path: a folder or a hub id.
        revision: of a hub repository.
        found: the weights in the folder; None on the hub.
    """

    name: str
    path: str
    revision: str | None
    found: Found | None

    @property
    def form(self) -> str | None:
        return None if self.found is None else self.found.form

    def keywords(self, options: _Options) -> dict[str, Any]:
        """Keywords of every ``from_pretrained``."""
        keywords: dict[str, Any] = {"revision": self.revision, "trust_remote_code": options.trust_remote_code}
        if self.found is not None and self.form == "gguf":
            keywords["gguf_file"] = self.found.files[0].name
        return keywords


def load(
    name: str | None = None,
    *,
    revision: str | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    block_list: str | None = None,
    part: Part | None = None,
    base: str | None = None,
    allow_pickle: bool = False,
    random_weights: int | None = None,
    tokenizer: str | None = None,
    stream: Stream = False,
    narrow: bool = False,
) -> Checkpoint:
    """Load anything that ``AutoModel`` or ``AutoModelForCausalLM`` loads.

    Args:
        name: a local folder, a GGUF file, a folder with a PEFT adapter, a hub id (of a model or an adapter, or with the
            name or the quantization of a GGUF file, as in ``org/name:Q4_K_M``), or ``timm:`` and the name of one of
            timm's vision transformers; None for the bundled checkpoint.
        revision: a branch, tag or commit of a hub repository.
        dtype: "auto" is float32 (float64 for a checkpoint saved so): half precision is measured best after
            widening, which is exact. Or "float32", "float64", "bfloat16", "float16".
        device: "auto" for an accelerator if there is one, or a torch device such as "cpu" or "cuda:1".
        trust_remote_code: run model code that the repository brings along.
        block_list: name of the list of residual blocks, checked here so that a wrong one fails early.
        part: the half of an encoder-decoder model that is measured, "encoder" or "decoder"; or "vision" for the vision
            tower of a multimodal model.
        base: the model that an adapter was trained on, where its configuration does not name the right one.
        allow_pickle: read weights that are pickled (.bin); a pickle can run any code.
        random_weights: a seed: take only the configuration and the tokenizer, and initialize the weights from it.
        tokenizer: the folder of the tokenizer, where it is not the checkpoint's own.
        stream: leave the blocks on disk, from where ``coupling.analyze`` reads one at a time; "auto": where the weights
            do not fit into the memory of the device.
        narrow: keep the blocks of a large half-precision or quantized checkpoint in half precision, and widen each when
            it is called; ``coupling.measure`` and ``coupling.analyze`` then give the numbers of the widened model.

    Raises:
        CouplingError: if the folder, its files, the hub, the device or the weights cannot be used.
    """
    if dtype not in DTYPES:
        raise CouplingError(f"`dtype` is {quoted(dtype)}, but must be one of {', '.join(DTYPES)}")
    if part is not None and part not in PARTS:
        raise CouplingError(f"`part` is {quoted(part)}, but must be one of {', '.join(PARTS)}")
    if part is not None and block_list is not None:
        raise CouplingError("`part` finds the list of blocks that `block_list` names; give one of them")
    check_stream(stream)
    options = _Options(
        dtype,
        resolve_device(device),
        trust_remote_code,
        random_weights,
        allow_pickle,
        stream,
        narrow and part != "vision",
    )
    timm_name = timm_source(name)
    if name is not None and timm_name is not None:
        if stream is True:
            raise CouplingError(f"{name} cannot be streamed from disk: timm loads its models as a whole")
        unfit = {"revision": revision, "part": part, "base": base}
        return load_timm_checkpoint(
            name, timm_name, dtype, options.device, random_weights, allow_pickle, block_list, unfit
        )
    named = _find(name, revision, options)
    adapter = _adapter_of(named, base, options)
    source, config = _open(named, options) if adapter is None else _open_base(adapter, named, options)
    check_halves(config, source.name, part, block_list)
    if tokenizer is None and adapter is not None and has_tokenizer(adapter.folder):
        tokenizer = str(adapter.folder)
    has_images = part == "vision" or takes_images(config)
    if has_images:
        check_widths(source.name, getattr(config, "vision_config", config))
        if source.found is not None:
            check_processor_folder(Path(source.path), source.name)
    else:
        _check_tokenizer(source, tokenizer)

    def find(model: Any) -> tuple[Any, str, list[Any]]:
        """What is measured of a loaded model, with its blocks and the name of their list."""
        if part == "vision":
            model = vision_tower(model, source.name)
        if has_images:
            check_widths(source.name, model.config, model)
        elif model.main_input_name != "input_ids":
            raise CouplingError(
                f"{source.name} takes {model.main_input_name}, neither text nor images, which are measured"
            )
        return model, *find_blocks(model, part_list(model, part) if part in HALVES else block_list)

    whole, report, weights_format, offloaded = _load_model(
        source, config, options, None if adapter is None else adapter.auto_class, lambda model: find(model)[2]
    )
    model, list_name, modules = find(whole)
    check_weights(source.name, model, list_name, modules, report)
    if adapter is not None:
        model = adapters.merge(adapter, model)
    if named.found is not None and not is_local(named.name):
        model.config._commit_hash = commit_of(named.found.folder)
    return Checkpoint(
        model,
        None if has_images else _load_tokenizer(source, tokenizer, options),
        named.name,
        revision or "",
        block_list=list_name,
        weights_format=weights_format,
        adapter="" if adapter is None else adapter.kind,
        base="" if adapter is None else adapter.base,
        processor=load_processor(source.name, source.path, model, **source.keywords(options)) if has_images else None,
        offloaded=offloaded,
        with_head=None
        if has_images or part is not None or offloaded is not None
        else _head_maker(model, whole, source, config, options),
    )


def read_config(
    name: str | None = None, *, revision: str | None = None, trust_remote_code: bool = False
) -> PretrainedConfig:
    """The configuration of a checkpoint, for which nothing else of it has to be there.

    Args:
        name: as ``load``, without adapters and timm.
        revision: see ``load``.
        trust_remote_code: see ``load``.

    Raises:
        CouplingError: if it cannot be read.
    """
    options = _Options("auto", "cpu", trust_remote_code, random_weights=0, allow_pickle=False)
    source, config = _open(_find(name, revision, options), options)
    check_size(source.name, config, None, torch.float32, None)
    return config


def _head_maker(
    model: PreTrainedModel, whole: PreTrainedModel, source: _Source, config: PretrainedConfig, options: _Options
) -> Callable[[], Any] | None:
    """What makes the language model around a measured one; None where the checkpoint has no language-model head."""
    if model.get_output_embeddings() is not None:  # a whole language model was loaded, as for adapters
        return lambda: model
    if whole is not model or not set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()) & set(config.architectures or []):
        return None

    def with_head() -> Any:
        loaded, *_ = _load_model(source, config, options, AutoModelForCausalLM, lambda _: [])
        setattr(loaded, loaded.base_model_prefix, model)  # the blocks that are measured, not a second copy of them
        loaded.tie_weights()
        return loaded.eval().requires_grad_(False)

    return with_head


def _find(name: str | None, revision: str | None, options: _Options) -> _Source:
    """The checkpoint's name as it is reported, and the folder or hub id that it is loaded from."""
    if name is not None and not name.strip():
        raise CouplingError("the model's name is empty; give a folder or a hub id")
    if name is not None and "\0" in name:
        raise CouplingError(f"the model's name {quoted(name)} contains a NUL character")
    weights = options.random_weights is None
    if name is None or name == BUNDLED:
        folder = Path(str(files("coupling").joinpath("data/checkpoint")))
        found = check_checkpoint_folder(folder, BUNDLED, weights=weights)
        return _Source(BUNDLED, str(folder), revision, found)
    if not is_local(name):
        path = materialize(name, revision, allow_pickle=options.allow_pickle)
        if path is None:
            return _Source(name, name, revision, None)
        found = check_checkpoint_folder(path, name, weights=weights, allow_pickle=options.allow_pickle)
        return _Source(name, str(found.folder), None, found)
    if revision is not None:
        raise CouplingError(f"{name} is a local folder, which has no revision {quoted(revision)}")
    found = check_checkpoint_folder(expanded(name), name, weights=weights, allow_pickle=options.allow_pickle)
    return _Source(name, str(found.folder), None, found)


def _adapter_of(source: _Source, base: str | None, options: _Options) -> adapters.Adapter | None:
    """The adapter that a folder contains; None where it contains a model."""
    if source.found is None or source.form != "adapter":
        if base is not None:
            raise CouplingError(f"`base` names the model of an adapter, but {source.name} is not an adapter")
        return None
    if options.random_weights is not None:
        raise CouplingError(f"{source.name} is an adapter, of which there is no untrained model; give its base model")
    return adapters.read_adapter(source.found.folder, source.name, base)


def _open_base(adapter: adapters.Adapter, named: _Source, options: _Options) -> tuple[_Source, PretrainedConfig]:
    """The model that an adapter was trained on, and its configuration."""
    try:
        base, config = _open(
            _find(adapter.base, None if is_local(adapter.base) else adapter.revision, options), options
        )
    except CouplingError as error:
        raise CouplingError(f"the base of the adapter {named.name}: {error}; `base` names another") from None
    return base, config


def _open(source: _Source, options: _Options) -> tuple[_Source, PretrainedConfig]:
    """A model and its configuration; that of a GGUF is in its header."""
    if source.form == "adapter":
        raise CouplingError(f"{source.name} is itself an adapter")
    if source.form == "gguf":
        formats.require_gguf()
    keywords = source.keywords(options)
    bundled = source.name == BUNDLED
    if source.found is not None and source.form != "gguf":  # before transformers makes lists of that many layers
        check_counts(read_json(source.found.folder / "config.json"), source.name)
    config = call(source.name, "configuration", AutoConfig.from_pretrained, source.path, bundled=bundled, **keywords)
    if source.form == "gguf":
        formats.complete_gguf_config(config)
    named = config.architectures
    if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        raise CouplingError(
            f"the configuration of {source.name} has the architectures {quoted(named)}, which are not a list of names"
        )
    return source, config


def _load_model(
    source: _Source,
    config: PretrainedConfig,
    options: _Options,
    auto_class: Any,
    find: Callable[[Any], list[Any]],
) -> tuple[PreTrainedModel, dict[str, Any], str, Offloaded | None]:
    """The model in evaluation mode, transformers' report on how its weights fit, and what they were on disk.

    Where the blocks stay on disk, also what brings them into memory; ``find`` tells which they are.
    """
    is_random, is_adapter = options.random_weights is not None, auto_class is not None
    precision = getattr(torch, options.dtype) if options.dtype != "auto" else torch.float32
    if options.dtype == "auto" and config.dtype == torch.float64:
        precision = torch.float64
    remote = getattr(config, "auto_map", None) or {}
    if auto_class is None:
        causal = options.trust_remote_code and remote and "AutoModel" not in remote
        auto_class = AutoModelForCausalLM if causal else AutoModel
    known = source.found if options.random_weights is None else None
    reason = why_not(config, source.form, is_adapter=is_adapter, is_random=is_random)
    may_narrow = options.narrow and precision == torch.float32 and not is_random and not is_adapter
    narrowed = may_narrow and is_worth_narrowing(config, known)
    resident = torch.float16 if narrowed and reason is None else precision
    streamed = is_streamed(options.stream, reason, source.name, config, known, resident, options.device)
    check_size(source.name, config, known, resident, None if streamed else options.device)
    if is_random:
        return _random_model(source, config, options, auto_class, precision), {}, "none", None
    quantization = formats.prepare_quantized(source.name, config)
    if quantization is not None:  # the names of quantized weights are those of the class that was saved
        auto_class = getattr(transformers, (config.architectures or [""])[0], auto_class)
    keywords = source.keywords(options) | {"dtype": precision, "device_map": {"": options.device}, "config": config}
    if source.form == "bin":
        keywords["use_safetensors"] = False
    elif source.form != "gguf" and not options.allow_pickle:
        keywords["use_safetensors"] = True
    with formats.quiet_gguf(), ExitStack() as stack:
        path = source.path if source.found is None else str(loadable_folder(source.found, stack))

        def from_pretrained(**placement: Any) -> tuple[Any, dict[str, Any]]:
            return call(
                source.name,
                "weights",
                auto_class.from_pretrained,
                path,
                bundled=source.name == BUNDLED,
                quantization=quantization,
                **keywords | placement,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # check_weights reports them by name
            )

        if streamed or (narrowed and reason is None):
            empty = partial(auto_class.from_config, trust_remote_code=options.trust_remote_code)
            model, report, offloaded = load_offloaded(from_pretrained, empty, find, config, options.device)
        else:
            (model, report), offloaded = from_pretrained(), None
    if source.found is not None and quantization is None:
        check_stored_types(source.name, model, source.found)
    if quantization is not None:
        formats.widen(source.name, model, quantization, precision)
    if narrowed and not streamed:
        if offloaded is not None:
            Narrow.of_offloaded(offloaded)
        else:
            Narrow(model, offloaded_names(model, find(model)))
        offloaded = None
    on_disk = formats.on_disk(source.found, quantization, allow_pickle=options.allow_pickle)
    return model.eval().requires_grad_(False), report, on_disk, offloaded


def _random_model(
    source: _Source, config: PretrainedConfig, options: _Options, auto_class: Any, precision: torch.dtype
) -> PreTrainedModel:
    """A model with weights drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(options.random_weights or 0)
        model = call(
            source.name,
            "configuration",
            auto_class.from_config,
            config,
            bundled=source.name == BUNDLED,
            dtype=precision,
            trust_remote_code=options.trust_remote_code,
        )
    return model.to(options.device).eval().requires_grad_(False)


def _check_tokenizer(source: _Source, tokenizer: str | None) -> None:
    """Check before the weights are loaded that a local folder contains a tokenizer, and its package is installed."""
    if tokenizer is None and (source.found is None or source.form == "gguf"):
        return
    folder = expanded(tokenizer if tokenizer is not None else source.path)
    if tokenizer is None or folder.is_dir():
        check_tokenizer_folder(folder, source.name)


def _load_tokenizer(source: _Source, tokenizer: str | None, options: _Options) -> PreTrainedTokenizerBase:
    """The tokenizer; that of a GGUF is in its header."""
    keywords = source.keywords(options)
    if tokenizer is not None:
        keywords.pop("gguf_file", None)
    return call(
        source.name,
        "tokenizer",
        AutoTokenizer.from_pretrained,
        source.path if tokenizer is None else tokenizer,
        bundled=source.name == BUNDLED,
        **keywords,
    )
