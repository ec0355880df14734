"""Whether a loaded model has the weights that its configuration asks for, and all of them are finite."""

import re
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from coupling.errors import CouplingError
from coupling.models.blocks import first_bad_block

HEADS = ("pooler", "lm_head")
"""Parts that read the last layer: the trajectory does not depend on them, and checkpoints often lack them."""


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
        raise CouplingError(f"{key} of {name} has the shape {there}, but its configuration says {wanted}")
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
        if parameter.is_floating_point() and not torch.isfinite(parameter).all():
            raise CouplingError(f"the weights of {name} contain a NaN or an infinity (parameter {key})")
