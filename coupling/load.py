"""Load a checkpoint and its tokenizer, and turn what goes wrong into one clear line."""

import json
import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from coupling.blocks import find_blocks, first_bad_block
from coupling.errors import CouplingError
from coupling.prompts import first_line

BUNDLED = "bundled"
HEADS = ("pooler", "lm_head")
"""Parts that read the last layer: the trajectory does not depend on them, and checkpoints often lack them."""
DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")
WEIGHT_FILES = ("*.safetensors", "*.bin")
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "merges.txt", "spiece*")


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to be measured, and where it came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str

    @property
    def context(self) -> int | None:
        """The longest prompt that the model takes, in tokens; None where it sets no limit."""
        config = self.model.config.get_text_config()
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
        limits.append(self.tokenizer.model_max_length)
        known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9]
        return min(known) if known else None


def load(
    name: str | None = None,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    blocks: str | None = None,
    random_weights: int | None = None,
    tokenizer: str | None = None,
) -> Checkpoint:
    """Load anything that ``AutoModel`` or ``AutoModelForCausalLM`` loads.

    Args:
        name: a local folder or a hub id; None for the bundled checkpoint.
        revision: a branch, tag or commit of a hub repository.
        dtype: "auto" is float32 (float64 for a checkpoint saved so): half precision is measured best after
            widening, which is exact. Or "float32", "float64", "bfloat16", "float16".
        device: "auto" for an accelerator if there is one, or a torch device such as "cpu" or "cuda:1".
        trust_remote_code: run model code that the repository brings along.
        blocks: name of the list of residual blocks, checked here so that a wrong one fails early.
        random_weights: a seed: take only the configuration and the tokenizer, and initialize the weights from it.
        tokenizer: the folder that holds it, where it is not the checkpoint's own.

    Raises:
        CouplingError: if the folder, its files, the hub, the device or the weights are at fault.
    """
    chosen = resolve_device(device)
    if name is not None and not name.strip():
        raise CouplingError("the model's name is empty; give a folder or a hub id")
    if dtype not in DTYPES:
        raise CouplingError(f"--dtype is {dtype!r}, but must be one of {', '.join(DTYPES)}")
    if name is None or name == BUNDLED:
        name, path = BUNDLED, str(files("coupling").joinpath("data/checkpoint"))
    else:
        path = name
        if is_local(name):
            path = str(Path(name).expanduser())
            if revision is not None:
                raise CouplingError(f"{name} is a local folder, which has no revision {revision!r}")
            _check_folder(Path(path), name, weights=random_weights is None)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _call(name, "configuration", AutoConfig.from_pretrained, path, **options)
    precision = getattr(torch, dtype) if dtype != "auto" else torch.float32
    if dtype == "auto" and config.dtype == torch.float64:
        precision = torch.float64
    options |= {
        "dtype": precision,
        "device_map": {"": chosen},
        "output_loading_info": True,
        "config": config,
        "ignore_mismatched_sizes": True,
    }  # they are reported below, by name
    if getattr(config, "is_encoder_decoder", False):
        raise CouplingError(
            f"{name} is an encoder-decoder model ({config.model_type}), whose two residual streams are not one "
            "trajectory; give a decoder-only or an encoder-only model"
        )
    place = path if tokenizer is None else tokenizer
    if is_local(name) and not any(file for pattern in TOKENIZER_FILES for file in Path(place).glob(pattern)):
        raise CouplingError(f"{name} holds no tokenizer ({', '.join(TOKENIZER_FILES)})")
    remote = getattr(config, "auto_map", None) or {}
    loader = AutoModelForCausalLM if trust_remote_code and "AutoModel" not in remote and remote else AutoModel
    if random_weights is None:
        model, report = _call(name, "weights", loader.from_pretrained, path, **options)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(random_weights)
            model = _call(name, "configuration", loader.from_config, config, dtype=precision,
                          trust_remote_code=trust_remote_code)  # fmt: skip
        model, report = model.to(chosen), {}
    model = model.eval().requires_grad_(False)
    if model.main_input_name != "input_ids":
        raise CouplingError(f"{name} takes {model.main_input_name}, so it is no language model; prompts are text here")
    list_name, modules = find_blocks(model, blocks)
    _check_weights(name, model, list_name, modules, report)
    loaded = _call(
        name, "tokenizer", AutoTokenizer.from_pretrained, place, revision=revision, trust_remote_code=trust_remote_code
    )
    return Checkpoint(model, loaded, name, revision or "")


def resolve_device(device: str) -> str:
    """A torch device's name; "auto" takes an accelerator if there is one that computes in float64.

    Raises:
        CouplingError: if torch does not know the device or cannot use it here.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator is not None and _problem(accelerator.type) is None else "cpu"
    problem = _problem(device)
    if problem is not None:
        raise CouplingError(f"device {device!r} cannot be used here: {problem}")
    return device


def _problem(device: str) -> str | None:
    """Why a device cannot be used; None if it can."""
    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        return first_line(error)
    return None


def is_local(name: str) -> bool:
    """Whether a model's name means a folder here: it exists, or cannot be a hub id."""
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep != "/" and os.sep in name)
    try:
        return looks_like_path or Path(name).exists()
    except OSError:  # a folder that may not be entered: the check of the folder says so
        return True


def _check_folder(folder: Path, name: str, *, weights: bool) -> None:
    try:
        _check_files(folder, name, weights=weights)
    except OSError as error:
        raise CouplingError(f"cannot read {name}: {error.strerror or error}") from None


def _check_files(folder: Path, name: str, *, weights: bool) -> None:
    if not folder.exists():
        raise CouplingError(f"there is no folder {name}; give a folder with config.json and weights, or a hub id")
    if not folder.is_dir():
        raise CouplingError(f"{name} is a file; give the folder that holds config.json and the weights")
    config = folder / "config.json"
    if not config.exists() and (folder / "adapter_config.json").exists():
        raise CouplingError(
            f"{name} holds an adapter without its model's weights; merge them (peft's merge_and_unload, then "
            "save_pretrained) and give that folder"
        )
    if not config.exists():
        raise CouplingError(f"{name} holds no config.json, so it is not a checkpoint in the Hugging Face format")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CouplingError(f"{config} cannot be read as JSON: {first_line(error)}") from None
    files = [file for pattern in WEIGHT_FILES for file in folder.glob(pattern)] if weights else []
    if weights and not files:
        raise CouplingError(f"{name} holds no weights ({' or '.join(WEIGHT_FILES)})")
    for file in files:
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, framework="pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise CouplingError(f"{file} is truncated or corrupt: {first_line(error)}") from None


def _call(name: str, what: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a loader of transformers; its errors become ours."""
    try:
        return function(*args, **kwargs)
    except CouplingError:
        raise
    except torch.OutOfMemoryError:
        raise CouplingError(f"{name} does not fit on the device; try --dtype bfloat16 or --device cpu") from None
    except Exception as error:  # loaders raise anything: OSError, ValueError, pickle and header errors
        message = " ".join(str(error).split())
        if "trust_remote_code" in message:
            reason = "it brings its own code; if you trust that, give --trust-remote-code"
        elif not is_local(name) and name != BUNDLED and _is_unreachable(error, message):
            reason = (
                "the Hugging Face hub cannot be reached and it is not in the local cache "
                f"(and there is no folder of that name here: {os.getcwd()})"
            )
        elif what == "configuration" or type(error) is ValueError:
            reason = message[:300]
        else:
            reason = f"a file is missing, truncated or corrupt ({type(error).__name__}: {message[:200]})"
        raise CouplingError(f"cannot load the {what} of {name}: {reason}") from None


def _is_unreachable(error: BaseException, message: str) -> bool:
    signs = ("couldn't connect", "offline", "cannot find the requested files", "connection", "resolve", "max retries")
    return any(sign in message.lower() for sign in signs) or "Connection" in type(error).__name__


def _check_weights(
    name: str, model: PreTrainedModel, list_name: str, modules: list[Any], report: dict[str, Any]
) -> None:
    """No weight that the trajectory depends on was made up or left out, and none is NaN or infinite."""
    missing = sorted(key for key in report.get("missing_keys", ()) if not any(head in key for head in HEADS))
    if missing:
        raise CouplingError(
            f"the weights of {name} lack {len(missing)} parameters that the configuration asks for, among them "
            f"{missing[0]}; they would be random, so nothing is measured"
        )
    numbered = re.compile(rf"(?:{re.escape(model.base_model_prefix)}\.)?{re.escape(list_name)}\.(\d+)\.")
    for key in sorted(report.get("unexpected_keys", ())):
        found = numbered.match(key)
        if found and int(found[1]) >= len(modules):
            raise CouplingError(
                f"the weights of {name} hold block {found[1]} ({key}), but its configuration has {len(modules)} blocks"
            )
    for key, *shapes in sorted(report.get("mismatched_keys", ()), key=str):
        there, wanted = (tuple(shape) for shape in shapes)
        raise CouplingError(f"{key} of {name} has the shape {there}, but its configuration says {wanted}")
    bad = first_bad_block(modules)
    if bad is not None:
        raise CouplingError(f"the weights of block {bad[0]} hold a NaN or an infinity (parameter {bad[1]})")
    for key, parameter in model.named_parameters():
        if parameter.is_floating_point() and not torch.isfinite(parameter).all():
            raise CouplingError(f"the weights of {name} hold a NaN or an infinity (parameter {key})")


def tokenize(checkpoint: Checkpoint, texts: list[str], *, truncate: bool = False) -> list[dict[str, Any]]:
    """Forward-pass arguments for each prompt.

    Args:
        checkpoint: the model and its tokenizer.
        texts: one prompt each.
        truncate: cut a prompt to the model's context; otherwise one that is too long is an error.

    Raises:
        CouplingError: if a prompt has no tokens, or too many.
    """
    prompts = []
    limit = checkpoint.context
    vocabulary = next(checkpoint.model.get_input_embeddings().parameters()).shape[0]
    for index, text in enumerate(texts):
        encoded = checkpoint.tokenizer(text, return_tensors="pt", verbose=False, truncation=False)
        ids = encoded["input_ids"]
        if ids.shape[1] == 0:
            raise CouplingError(f"prompt {index} has no tokens")
        if limit is not None and ids.shape[1] > limit:
            if not truncate:
                raise CouplingError(
                    f"prompt {index} has {ids.shape[1]} tokens, and the model's context is {limit}; "
                    "shorten it, or give --truncate"
                )
            encoded = checkpoint.tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
            ids = encoded["input_ids"]
        if int(ids.max()) >= vocabulary:
            raise CouplingError(
                f"prompt {index} has token id {int(ids.max())}, and the model has {vocabulary} embeddings: "
                "the tokenizer is not this model's"
            )
        inputs = {"input_ids": ids}
        if "token_type_ids" in encoded:
            inputs["token_type_ids"] = encoded["token_type_ids"]
        prompts.append(inputs)
    return prompts
