"""Load a checkpoint and its tokenizer, and turn what goes wrong into one clear line."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from coupling.choices import DTYPES, Dtype
from coupling.errors import CouplingError, one_line
from coupling.models.blocks import find_blocks, first_bad_block
from coupling.models.devices import resolve_device
from coupling.models.folder import check_checkpoint_folder, check_tokenizer_folder, is_local

BUNDLED = "bundled"
HEADS = ("pooler", "lm_head")
"""Parts that read the last layer: the trajectory does not depend on them, and checkpoints often lack them."""
HTTP = ("httpx", "httpcore", "requests", "urllib3")
"""Libraries whose errors mean that the hub did not answer."""

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to be measured, and where it came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str

    @property
    def context(self) -> int | None:
        """The longest prompt that the model accepts, in tokens; None where it sets no limit."""
        config = self.model.config.get_text_config()
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
        limits.append(self.tokenizer.model_max_length)
        known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9]
        return min(known) if known else None


def load(
    name: str | None = None,
    *,
    revision: str | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    block_list: str | None = None,
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
        block_list: name of the list of residual blocks, checked here so that a wrong one fails early.
        random_weights: a seed: take only the configuration and the tokenizer, and initialize the weights from it.
        tokenizer: the folder of the tokenizer, where it is not the checkpoint's own.

    Raises:
        CouplingError: if the folder, its files, the hub, the device or the weights cannot be used.
    """
    chosen = resolve_device(device)
    name, path = _place(name, revision, weights=random_weights is None)
    if dtype not in DTYPES:
        raise CouplingError(f"`dtype` is {dtype!r}, but must be one of {', '.join(DTYPES)}")
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _call(name, "configuration", AutoConfig.from_pretrained, path, **options)
    if getattr(config, "is_encoder_decoder", False):
        raise CouplingError(
            f"{name} is an encoder-decoder model ({config.model_type}), whose two residual streams are not one "
            "trajectory; give a decoder-only or an encoder-only model"
        )
    tokenizer_path = path if tokenizer is None else tokenizer
    if is_local(path):
        check_tokenizer_folder(Path(tokenizer_path), name)
    model, report = _load_model(
        name, path, config, options, dtype=dtype, device=chosen, trust_remote_code=trust_remote_code,
        random_weights=random_weights,
    )  # fmt: skip
    if model.main_input_name != "input_ids":
        raise CouplingError(
            f"{name} takes {model.main_input_name}, so it is not a language model; prompts are text here"
        )
    list_name, modules = find_blocks(model, block_list)
    _check_weights(name, model, list_name, modules, report)
    loaded = _call(name, "tokenizer", AutoTokenizer.from_pretrained, tokenizer_path, **options)
    return Checkpoint(model, loaded, name, revision or "")


def _place(name: str | None, revision: str | None, *, weights: bool) -> tuple[str, str]:
    """The checkpoint's name as it is reported, and the folder or hub id that it is loaded from."""
    if name is not None and not name.strip():
        raise CouplingError("the model's name is empty; give a folder or a hub id")
    if name is None or name == BUNDLED:
        return BUNDLED, str(files("coupling").joinpath("data/checkpoint"))
    if not is_local(name):
        return name, name
    if revision is not None:
        raise CouplingError(f"{name} is a local folder, which has no revision {revision!r}")
    folder = Path(name).expanduser()
    check_checkpoint_folder(folder, name, weights=weights)
    return name, str(folder)


def _load_model(
    name: str,
    path: str,
    config: PretrainedConfig,
    options: dict[str, Any],
    *,
    dtype: Dtype,
    device: str,
    trust_remote_code: bool,
    random_weights: int | None,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model in evaluation mode, and transformers' report on how its weights fit."""
    precision = getattr(torch, dtype) if dtype != "auto" else torch.float32
    if dtype == "auto" and config.dtype == torch.float64:
        precision = torch.float64
    remote = getattr(config, "auto_map", None) or {}
    loader: Any = AutoModelForCausalLM if trust_remote_code and remote and "AutoModel" not in remote else AutoModel
    report: dict[str, Any] = {}
    if random_weights is None:
        model, report = _call(
            name,
            "weights",
            loader.from_pretrained,
            path,
            **options,
            dtype=precision,
            device_map={"": device},
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # _check_weights reports them by name
        )
    else:
        with torch.random.fork_rng():
            torch.manual_seed(random_weights)
            model = _call(
                name,
                "configuration",
                loader.from_config,
                config,
                dtype=precision,
                trust_remote_code=trust_remote_code,
            ).to(device)
    return model.eval().requires_grad_(False), report


def _call(name: str, what: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a loader of transformers, and translate its errors.

    Raises:
        CouplingError: in place of whatever the loader raises.
    """
    try:
        return function(*args, **kwargs)
    except CouplingError:
        raise
    except torch.OutOfMemoryError:
        raise CouplingError(f"{name} does not fit on the device; try `dtype='bfloat16'` or `device='cpu'`") from None
    except Exception as error:  # loaders raise anything: OSError, ValueError, pickle and header errors
        message = one_line(error)
        if "trust_remote_code" in str(error):  # transformers has no type of its own for this
            reason = "it brings its own code; if you trust that, give `trust_remote_code=True`"
        elif not is_local(name) and name != BUNDLED and _is_unreachable(error):
            reason = (
                "the Hugging Face hub cannot be reached and it is not in the local cache "
                f"(and there is no folder of that name here: {os.getcwd()})"
            )
        elif what == "configuration" or type(error) is ValueError:
            reason = message
        else:
            reason = f"a file is missing, truncated or corrupt ({type(error).__name__}: {message[:200]})"
        raise CouplingError(f"cannot load the {what} of {name}: {reason}") from None


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether the hub could not be reached: an error of that type is the cause, or the cause's cause."""
    while error is not None:
        library = type(error).__module__.partition(".")[0]
        if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError)) or library in HTTP:
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_weights(
    name: str, model: PreTrainedModel, list_name: str, modules: list[Any], report: dict[str, Any]
) -> None:
    """Check that no weight that the trajectory depends on was made up, left out, NaN or infinite."""
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
                f"the weights of {name} contain block {found[1]} ({key}), but its configuration has "
                f"{len(modules)} blocks"
            )
    for key, *shapes in sorted(report.get("mismatched_keys", ()), key=str):
        there, wanted = (tuple(shape) for shape in shapes)
        raise CouplingError(f"{key} of {name} has the shape {there}, but its configuration says {wanted}")
    bad = first_bad_block(modules)
    if bad is not None:
        raise CouplingError(f"the weights of block {bad[0]} contain a NaN or an infinity (parameter {bad[1]})")
    for key, parameter in model.named_parameters():
        if parameter.is_floating_point() and not torch.isfinite(parameter).all():
            raise CouplingError(f"the weights of {name} contain a NaN or an infinity (parameter {key})")
