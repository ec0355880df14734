"""Whether a loaded model has the weights that its configuration asks for, and all of them are finite."""

import re
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from coupling.errors import CouplingError
from coupling.models.blocks import first_bad_block, is_not_finite
from coupling.models.folder import Found
from coupling.untrusted import clean

HEADS = ("pooler", "lm_head")
"""Parts that read the last layer: the trajectory does not depend on them, and checkpoints often lack them."""


NOT_FLOATS = {"I": "integers", "U": "integers", "BOOL": "truth values", "C": "complex numbers"}
"""What entries are whose type begins so, as safetensors names types; that of every other type are floating-point."""


def check_stored_types(name: str, model: PreTrainedModel, found: Found) -> None:
    """Check that the weights that are parameters of a model are stored as floating-point numbers.

    transformers would convert others without a word: of a complex number it keeps the real part.

    Args:
        name: what the user called the checkpoint.
        model: the loaded model.
        found: the weights that it was loaded from.

    Raises:
        CouplingError: if one is of integers, truth values or complex numbers.
    """
    parameters = {key for key, _ in model.named_parameters()}
    for key, kind in stored_types(found).items():
        entries = next((words for start, words in NOT_FLOATS.items() if kind.upper().startswith(start)), None)
        if entries is None:
            continue
        tail = key
        while tail not in parameters and "." in tail:  # names in files may have a prefix that those of the model lack
            tail = tail.partition(".")[2]
        longer = f"{model.base_model_prefix}.{key}"
        if tail in parameters or longer in parameters:
            raise CouplingError(
                f"{clean(key, 200)} of {name} is stored as {kind}: {entries}, and weights must be "
                "floating-point numbers"
            )


def stored_types(found: Found) -> dict[str, str]:
    """The type of each tensor in files of safetensors or pickles, as the file names it; nothing for other weights."""
    types: dict[str, str] = {}
    for file in found.files:
        if found.form == "safetensors":
            with safe_open(file, framework="pt") as opened:
                types |= {key: str(opened.get_slice(key).get_dtype()) for key in opened.keys()}  # noqa: SIM118
        elif found.form == "bin":
            content = torch.load(file, map_location="meta", weights_only=True)
            types |= {
                key: str(value.dtype).removeprefix("torch.")
                for key, value in content.items()
                if isinstance(key, str) and isinstance(value, torch.Tensor)
            }
    return types


def check_weights(
    name: str, model: PreTrainedModel, list_name: str, modules: list[Any], report: dict[str, Any]
) -> None:
    """Check that no weight that the trajectory depends on was made up, left out, NaN or infinite.

    Args:
        name: what the user called the checkpoint.
        model: the model.
        list_name: the name of the list of its blocks.
        modules: the blocks.
        report: transformers' report on how the weights fit.

    Raises:
        CouplingError: if one was.
    """
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
        raise CouplingError(f"{clean(key, 200)} of {name} has the shape {there}, but its configuration says {wanted}")
    check_finite(name, model, modules)


def check_finite(name: str, model: nn.Module, modules: list[Any]) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        CouplingError: if one is.
    """
    bad = first_bad_block(modules)
    if bad is not None:
        raise CouplingError(f"the weights of block {bad[0]} contain a NaN or an infinity (parameter {bad[1]})")
    for key, parameter in model.named_parameters():
        if is_not_finite(parameter):
            raise CouplingError(f"the weights of {name} contain a NaN or an infinity (parameter {key})")
