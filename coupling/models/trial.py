"""Whether a list of modules can be measured, tried in a forward pass of a few made-up tokens or an empty image."""

import inspect
from typing import Any

import torch
from torch import nn

from coupling.errors import CouplingError
from coupling.models import attention
from coupling.models.blocks import without_peft
from coupling.models.forward import PassError, observe

TOKENS, SIDE = 4, 32


def can_be_measured(model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any] | None = None) -> bool:
    """Whether modules form one residual stream; True as well where the pass itself fails, so that it is not known.

    Args:
        model: the model.
        modules: the list.
        inputs: keyword arguments of the pass; by default a few made-up tokens, or an empty image.
    """
    try:
        observe(model, modules, inputs or made_up_inputs(model), None, attention.Tape())
    except PassError:
        return True
    except CouplingError:
        return False
    except Exception:  # the made-up inputs do not serve this model
        return True
    return True


def made_up_inputs(model: nn.Module) -> dict[str, Any]:
    """Keyword arguments of a short forward pass: a few tokens, an empty image, or what else is the main input."""
    inner = without_peft(model)
    names = inspect.signature(inner.forward).parameters
    config = getattr(inner, "config", None)
    if "pixel_values" in names and "input_ids" not in names:
        vision = getattr(config, "vision_config", config)
        size = getattr(vision, "image_size", None) or SIDE
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        return {"pixel_values": torch.zeros(1, getattr(vision, "num_channels", 3), height, width)}
    inputs = {"input_ids": torch.arange(TOKENS)[None]}
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        inputs["decoder_input_ids"] = torch.arange(TOKENS)[None]
    return inputs
