"""The parts of a model: the halves of an encoder-decoder model, the inputs that the decoder needs, the vision tower."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from coupling.errors import CouplingError

Half = Literal["encoder", "decoder"]
HALVES: tuple[Half, ...] = get_args(Half)
"""The halves of an encoder-decoder model, each with its own residual stream."""
Part = Literal["encoder", "decoder", "vision"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The halves of an encoder-decoder model, and the vision tower of a multimodal model."""


def check_halves(config: Any, name: str, part: Part | None, block_list: str | None) -> None:
    """Check that a half is chosen where a model has two, and only there.

    Args:
        config: the model's configuration.
        name: what the user called it.
        part: what is measured.
        block_list: the list of blocks that is measured.

    Raises:
        CouplingError: if none is chosen, or the model has no halves.
    """
    has_two_parts = getattr(config, "is_encoder_decoder", False)
    if has_two_parts and part is None and block_list is None:
        raise CouplingError(
            f"{name} is an encoder-decoder model ({config.model_type}), whose two residual streams are not one "
            "trajectory; choose one by `part='encoder'` or `part='decoder'`"
        )
    if part in HALVES and not has_two_parts:
        raise CouplingError(f"`part` applies to encoder-decoder models, and {name} ({config.model_type}) is not one")


def part_list(model: nn.Module, part: Half) -> str:
    """The name of the list of blocks of the encoder or the decoder.

    Raises:
        CouplingError: if there is not exactly one.
    """
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)]
    outer = [name for name in lists if not any(name.startswith(other + ".") for other in lists)]
    found = [name for name in outer if _part_of(name) == part]
    if len(found) != 1:
        raise CouplingError(
            f"cannot tell which list contains the blocks of the {part} of {type(model).__name__}; name it with "
            f"`block_list`. Its lists: {', '.join(outer) or 'none'}"
        )
    return found[0]


def _part_of(list_name: str | None) -> Half | None:
    """The half that a list of blocks belongs to, by its name; the first half that the name contains."""
    return next((name for name in (list_name or "").split(".") if name in HALVES), None)


def vision_tower(model: Any, name: str) -> Any:
    """The vision tower of a multimodal model.

    Args:
        model: a transformers model.
        name: what the user called it.

    Raises:
        CouplingError: if it has none.
    """
    tower = model.get_encoder(modality="image")
    if tower is model or getattr(tower, "main_input_name", "") != "pixel_values":
        raise CouplingError(
            f"{name} ({model.config.model_type}) has no vision tower that `part='vision'` could measure"
        )
    return tower


def decoder_inputs(model: Any, list_name: str, ids: Tensor) -> Tensor:
    """The decoder's token ids.

    The decoder reads what it reads in training to repeat the prompt: the start token, then the prompt without its last
    token, so that it has as many tokens as the prompt. The encoder's blocks do not depend on the decoder, which then
    reads the start token alone.

    Args:
        model: an encoder-decoder model.
        list_name: the list of blocks that is measured.
        ids: the prompt, (1, n).

    Raises:
        CouplingError: if the configuration names no start token.
    """
    config = model.config
    places = (config, config.get_text_config(), getattr(model, "generation_config", None))
    names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
    known = (getattr(place, name, None) for name in names for place in places)
    start = next((token for token in known if isinstance(token, int)), None)
    if start is None:
        raise CouplingError(f"the configuration of {type(model).__name__} has no decoder_start_token_id")
    first = torch.full_like(ids[:, :1], start)
    return first if _part_of(list_name) == "encoder" else torch.cat([first, ids[:, :-1]], dim=1)
