"""Find a model's residual blocks, and call one alone as it was called inside the model."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, EncoderDecoderCache

from coupling.errors import CouplingError
from coupling.models.timm_attention import is_timm, timm_blocks
from coupling.untrusted import quoted

CACHES = (Cache, EncoderDecoderCache)


class BlocksError(CouplingError):
    """The residual blocks were not found, or what was found or named is not one stream; another list may be."""


class _Stream:
    """Stands in a recorded call for the residual stream itself, wherever the model passed it."""


STREAM = _Stream()


@dataclass(frozen=True)
class BlockCall:
    """A call of a block inside the model, with a placeholder wherever the model passed the residual stream.

    Some models pass the stream several times (Funnel: query, key and value): all of them move together.

    Attributes:
        block: the module.
        arguments: the positional arguments.
        names: their names.
        keywords: the keyword arguments.
        length: n, the number of tokens.
        packed: the model calls the block with (n, d), without a batch axis (the image encoders of Qwen-VL and others).
    """

    block: nn.Module
    arguments: tuple[Any, ...]
    names: tuple[str, ...]
    keywords: dict[str, Any]
    length: int
    packed: bool = False

    @classmethod
    def of(cls, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple["BlockCall", Tensor]:
        """Split a call into the residual stream, (1, n, d), and everything else."""
        parameters = list(inspect.signature(block.forward).parameters)
        if args:
            stream = args[0]
        else:
            name = parameters[0] if parameters and parameters[0] in kwargs else "hidden_states"
            stream = kwargs.get(name)
        if isinstance(stream, Tensor) and stream.ndim == 4:
            raise CouplingError(
                f"{type(block).__name__} is called with a tensor of shape {tuple(stream.shape)}, several parallel "
                "copies of the residual stream or a grid of patches; only one stream of shape (batch, tokens, hidden) "
                "can be measured"
            )
        if not isinstance(stream, Tensor) or stream.ndim not in (2, 3):
            raise BlocksError(
                f"{type(block).__name__} is not called with a residual stream of shape (batch, tokens, hidden)"
            )
        keywords = {key: _recorded(value, stream) for key, value in kwargs.items()}
        if "use_cache" in keywords:
            keywords["use_cache"] = False
        arguments = tuple(_recorded(value, stream) for value in args)
        packed = stream.ndim == 2
        call = cls(block, arguments, tuple(parameters[: len(args)]), keywords, stream.shape[-2], packed)
        return call, stream[None] if packed else stream

    def __call__(self, stream: Float[Tensor, "1 n d"]) -> Float[Tensor, "1 n d"]:
        """Run the block alone on a residual stream."""
        return self._call(stream, self.arguments, self.keywords)

    def at(self, stream: Float[Tensor, "1 r d"], rows: Int[Tensor, "r"]) -> Float[Tensor, "1 r d"]:
        """Run the block on some tokens only, with every argument that belongs to positions cut to these tokens."""
        pairs = zip(self.names, self.arguments, strict=True)
        arguments = tuple(_at(name, value, rows, self.length) for name, value in pairs)
        keywords = {name: _at(name, value, rows, self.length) for name, value in self.keywords.items()}
        return self._call(stream, arguments, keywords)

    def _call(self, stream: Tensor, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
        if self.packed:
            stream = stream[0]
        arguments = tuple(stream if value is STREAM else value for value in arguments)
        keywords = {name: stream if value is STREAM else value for name, value in keywords.items()}
        frozen = {name: p.clone() for name, p in self.block.named_parameters() if p.is_inference()}
        frozen |= {name: b.clone() for name, b in self.block.named_buffers() if b.is_inference()}
        if frozen:  # tensors made in inference mode cannot be saved for a derivative
            return self.stream_of(torch.func.functional_call(self.block, frozen, arguments, keywords))
        return self.stream_of(self.block(*arguments, **keywords))

    def stream_of(self, result: Any) -> Float[Tensor, "1 n d"]:
        """The residual stream in what the block returned: the tensor itself, or the first of a tuple."""
        output = result[0] if isinstance(result, (tuple, list)) else result
        return output[None] if self.packed else output


def _recorded(value: Any, stream: Tensor) -> Any:
    """An argument as it is kept: the stream becomes a placeholder, and caches are left out."""
    if isinstance(value, CACHES):
        return None
    if isinstance(value, Tensor) and value.shape == stream.shape and value.data_ptr() == stream.data_ptr():
        return STREAM
    return value


def _at(name: str, value: Any, rows: Tensor, length: int) -> Any:
    """Cut one argument to some positions; a wrong cut is noticed when the block's output is compared."""
    if name == "position_embeddings" and _are_planar(value):
        return type(value)([_rotation_at(one, rows, length, fill) for one, fill in zip(value, (1, 0), strict=True)])
    if name == "rope" and isinstance(value, Tensor):  # timm's: sines and cosines side by side
        return torch.cat(
            [_rotation_at(one, rows, length, fill) for one, fill in zip(value.chunk(2, -1), (0, 1), strict=True)], -1
        )
    if isinstance(value, (tuple, list)):
        return type(value)(_at(name, item, rows, length) for item in value)
    if isinstance(value, dict):
        return {key: _at(name, item, rows, length) for key, item in value.items()}
    if not isinstance(value, Tensor):
        return value
    if name in ("position_ids", "cache_position"):
        axis = value.ndim - 1
    elif name == "attention_mask":
        axis = value.ndim - 2 if value.ndim == 4 else -1
    else:
        axis = 1 if value.ndim >= 3 else -1
    if axis < 0 or value.shape[axis] != length:
        return value
    return value.index_select(axis, rows.to(value.device))


def _are_planar(value: Any) -> bool:
    """Whether these are the cosines and sines of rotary positions of an image, (tokens, head), without a batch axis."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(one, Tensor) and one.ndim == 2 for one in value)
    )


def _rotation_at(value: Float[Tensor, "*other p head"], rows: Int[Tensor, "r"], length: int, fill: float) -> Tensor:
    """Cosines or sines of some tokens; special tokens in front of the patches are not rotated, which ``fill`` says."""
    lacking = length - value.shape[-2]
    if lacking > 0:
        front = value.new_full((*value.shape[:-2], lacking, value.shape[-1]), fill)
        value = torch.cat([front, value], dim=-2)
    return value.index_select(-2, rows.to(value.device))


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


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[str, list[nn.Module]]:
    """The residual blocks of a model, in order, and the name of the list that contains them.

    Args:
        model: a transformers model, or any module.
        path: the list's name, such as ``model.layers``, where it cannot be found; with or without the
            prefix of the language model's trunk.

    Raises:
        CouplingError: if there is no such list; or if none was named, and none or several qualify.
    """
    model = without_peft(model)
    if is_timm(model) and path in (None, "blocks"):
        return "blocks", timm_blocks(model)
    config = getattr(model, "config", None)
    if path is None and getattr(config, "is_encoder_decoder", False):
        raise BlocksError(
            f"{type(model).__name__} is an encoder-decoder model, whose two residual streams are not one trajectory; "
            "name the blocks of one, for example `block_list='encoder.block'`"
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
            f"cannot tell which modules of {type(model).__name__} are its residual blocks{other_lists(model)}"
        )
    return candidates[0], lists[candidates[0]]


def other_lists(model: nn.Module, tried: Sequence[nn.Module] = ()) -> str:
    """The end of a refusal: which lists may be named in place of those tried, or that the model has none."""
    lists = {name: blocks for name, blocks in block_lists(model).items() if _may_be_blocks(blocks, tried)}
    outer = [n for n in lists if not any(n.startswith(other + ".") for other in lists)]
    if not outer:
        return "; it has no other list of modules that could be, so it cannot be measured"
    known = ", ".join(_described(lists[name], name) for name in outer)
    return (
        f"; if one of its other lists is, name it with `block_list='{outer[0]}'`: {known}"
        if tried
        else (f"; if one of its lists is, name it, as in `block_list='{outer[0]}'`: {known}")
    )


def block_lists(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The lists of modules of a model, by name; which of them contain residual blocks is another question."""
    return {name: list(m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}


def _may_be_blocks(blocks: list[nn.Module], tried: Sequence[nn.Module]) -> bool:
    """Whether a list may be of residual blocks: at least two modules of one class, each with several modules inside."""
    is_alike = len({type(block) for block in blocks}) == 1 and not isinstance(blocks[0], nn.ModuleList)
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
