"""Image models as checkpoints: which models take images, which are refused, and timm's."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PretrainedConfig

from coupling.choices import Dtype
from coupling.errors import CouplingError
from coupling.models.blocks import find_blocks
from coupling.models.checkpoint import Checkpoint
from coupling.models.image_processing import timm_processor
from coupling.models.timm import load_timm, refuse_changing_width, stage_widths
from coupling.models.weights import check_finite


def takes_images(config: PretrainedConfig) -> bool:
    """Whether the base model of a configuration takes images."""
    known = AutoModel._model_mapping
    if type(config) not in known:
        return False
    return getattr(known[type(config)], "main_input_name", "") == "pixel_values"


def check_widths(name: str, config: Any, model: nn.Module | None = None) -> None:
    """Refuse a convolutional or hierarchical model, by its configuration or, where that does not tell, by its norms.

    Args:
        name: what the user called it.
        config: the configuration of the model, or of its vision tower.
        model: the model, where it has been built.

    Raises:
        CouplingError: if the width changes from stage to stage.
    """
    refuse_changing_width(name, stage_widths(config))
    if model is not None:
        norms = [module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        refuse_changing_width(name, norms)


def load_timm_checkpoint(
    name: str,
    source: str,
    dtype: Dtype = "auto",
    device: str = "cpu",
    random_weights: int | None = None,
    allow_pickle: bool = False,
    block_list: str | None = None,
    unfit: Mapping[str, str | None] | None = None,
) -> Checkpoint:
    """One of timm's vision transformers, with the transform of its data configuration.

    Args:
        name: what the user called it.
        source: of ``coupling.models.timm.timm_source``.
        dtype: "auto" is float32.
        device: a torch device.
        random_weights: a seed: draw the weights from it.
        allow_pickle: read weights that are pickled.
        block_list: the list of residual blocks, "blocks" where it is given.
        unfit: arguments that do not apply to timm's models, and what was given for them.

    Raises:
        CouplingError: if an argument does not apply, or the model cannot be loaded or measured.
    """
    for argument, given in (unfit or {}).items():
        if given is not None:
            raise CouplingError(f"`{argument}` does not apply to {name}, which is one of timm's models")
    precision = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    model, form = load_timm(
        name, source, precision=precision, device=device, random_weights=random_weights, allow_pickle=allow_pickle
    )
    list_name, modules = find_blocks(model, block_list)
    check_finite(name, model, modules)
    return Checkpoint(model, None, name, "", block_list=list_name, weights_format=form, processor=timm_processor(model))
