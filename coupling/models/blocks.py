"""Find a model's residual blocks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from coupling.errors import CouplingError
from coupling.models.timm_attention import is_timm, timm_blocks
from coupling.untrusted import quoted


class BlocksError(CouplingError):
    """The residual blocks were not found, or what was found or named is not one stream; another list may be."""


def trunk(model: nn.Module) -> nn.Module:
    """The model without its head, because no logits are needed.

    A PEFT model is unwrapped as well, with its adapters in place: its own ``forward`` may run in half precision.
    """
    inner = without_peft(model)
    if is_prompt_learning(model):
        return model  # only the wrapper's forward prepends the learned tokens
    return inner.base_model if isinstance(inner, PreTrainedModel) else inner


def is_prompt_learning(model: nn.Module) -> bool:
    """Whether a PEFT model puts learned tokens in front of the prompt."""
    return without_peft(model) is not model and bool(
        model.active_peft_config.is_prompt_learning  # type: ignore[union-attr]
    )


def without_peft(model: nn.Module) -> nn.Module:
    """The model inside a PEFT model, adapters included; any other model itself."""
    if hasattr(model, "active_peft_config") and hasattr(model, "get_base_model"):
        return model.get_base_model()  # type: ignore[operator]
    return model


def find_blocks(
    model: nn.Module, path: str | None = None, inputs: dict[str, Any] | None = None
) -> tuple[str, list[nn.Module]]:
    """The residual blocks of a model, in order, and the name of the list that contains them.

    Args:
        model: a transformers model, or any module.
        path: the list's name, such as ``model.layers``, where it cannot be found; with or without the
            prefix of the language model's trunk.
        inputs: keyword arguments of a forward pass, with which lists are tried before a refusal names them.

    Raises:
        CouplingError: if there is no such list; or if none was named, and none or several qualify.
    """
    model = without_peft(model)
    if is_timm(model) and path in (None, "blocks"):
        return "blocks", timm_blocks(model)
    config = getattr(model, "config", None)
    if path is None and getattr(config, "is_encoder_decoder", False):
        raise BlocksError(
            f"{type(model).__name__} is an encoder-decoder model, whose two residual streams are not one "
            f"trajectory{other_lists(model, inputs=inputs)}"
        )
    lists = block_lists(model)
    outer = [n for n in lists if not any(n.startswith(other + ".") for other in lists)]
    if path is not None:
        prefix = f"{getattr(model, 'base_model_prefix', '')}."
        for name in (path, path.removeprefix(prefix), path.removeprefix("model."), prefix + path):
            if name in lists:
                return name, lists[name]
        known = ", ".join(_described(lists[name], name) for name in outer) or "none"
        raise CouplingError(f"there is no list of modules named {quoted(path)}; this model's lists: {known}")
    depth = getattr(config.get_text_config() if config is not None else None, "num_hidden_layers", None)
    candidates = [name for name in outer if len(lists[name]) == depth] if depth else outer
    if not candidates and len(outer) == 1:  # the only list, whatever the configuration calls the depth
        candidates = outer
    if len(candidates) > 1:  # for example a vision tower beside a language model
        candidates = [name for name in candidates if "vision" not in name and "visual" not in name]
    if len(candidates) != 1:
        raise BlocksError(
            f"cannot tell which modules of {type(model).__name__} are its residual blocks"
            f"{other_lists(model, inputs=inputs)}"
        )
    return candidates[0], lists[candidates[0]]


def other_lists(model: nn.Module, tried: Sequence[nn.Module] = (), inputs: dict[str, Any] | None = None) -> str:
    """The end of a refusal: which lists can be named in place of those tried, or that the model has none."""
    from coupling.models.trial import can_be_measured

    lists = {name: blocks for name, blocks in block_lists(model).items() if _may_be_blocks(blocks, tried)}
    outer = [n for n in lists if not any(n.startswith(other + ".") for other in lists)]
    possible = [name for name in outer if can_be_measured(model, lists[name], inputs)]
    if not possible:
        if tried:
            return "; it has no other list of modules that could be, so it cannot be measured"
        return "; none of its lists of modules is one residual stream, so it cannot be measured"
    known = ", ".join(_described(lists[name], name) for name in possible)
    return f"; name {'another' if tried else 'one'} of its lists with `block_list='{possible[0]}'`: {known}"


def block_lists(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The lists of modules, by name; of models that have none of blocks also their sequences (``nn.Sequential``)."""
    lists = {name: list(m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    lists = {name: modules for name, modules in lists.items() if not isinstance(modules[0], nn.ModuleList)}
    if not any(_may_be_blocks(modules) for modules in lists.values()):
        sequences = {name: list(m) for name, m in model.named_modules() if isinstance(m, nn.Sequential)}
        lists |= {name: modules for name, modules in sequences.items() if modules and _may_be_blocks(modules)}
    return lists


def _may_be_blocks(blocks: list[nn.Module], tried: Sequence[nn.Module] = ()) -> bool:
    """Whether a list may be of residual blocks: at least two modules of one class, each with several modules inside."""
    is_alike = len({type(block) for block in blocks}) == 1
    has_parts = len(list(blocks[0].children())) > 1
    return len(blocks) > 1 and is_alike and has_parts and not any(block in tried for block in blocks)


def _described(blocks: list[nn.Module], name: str) -> str:
    return f"{name} ({len(blocks)} x {type(blocks[0]).__name__})"


def first_bad_block(blocks: list[nn.Module]) -> tuple[int, str] | None:
    """The first block whose weights contain a NaN or an infinity, and the name of the parameter.

    Weights that are on disk are not looked at.
    """
    for index, block in enumerate(blocks):
        for name, parameter in block.named_parameters():
            if is_not_finite(parameter):
                return index, name
    return None


def is_not_finite(parameter: Tensor) -> bool:
    """Whether a parameter that is in memory contains a NaN or an infinity."""
    in_memory = parameter.device.type != "meta"
    return in_memory and parameter.is_floating_point() and not bool(torch.isfinite(parameter).all())
