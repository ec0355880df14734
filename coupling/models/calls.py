"""One call of a block inside the model, kept so that the block can be called again alone, on all tokens or on some."""

import copy
import inspect
from collections import UserDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache, EncoderDecoderCache

from coupling.errors import CouplingError
from coupling.models.blocks import BlocksError
from coupling.models.recurrence import NAMES

CACHES = (Cache, EncoderDecoderCache)
COPIES, GRID = "several parallel copies of the residual stream", "a grid of patches or pixels"
GRID_OR_COPIES = f"{COPIES} or {GRID}"
"""What a residual stream with four axes is in models of text, of images, and of both."""


class _Stream:
    """Stands in a recorded call for the residual stream itself, wherever the model passed it."""


STREAM = _Stream()


def parameters_of(block: nn.Module) -> tuple[str, ...]:
    """The names of the arguments of a block's forward pass."""
    function = getattr(block.forward, "__func__", None)
    return tuple(inspect.signature(block.forward).parameters) if function is None else _names_of_method(function)


@lru_cache(maxsize=512)
def _names_of_method(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a method's arguments, found once for all modules of a class; no module is kept."""
    return tuple(inspect.signature(MethodType(function, object())).parameters)


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
    def of(
        cls, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], several: str = GRID_OR_COPIES
    ) -> tuple["BlockCall", Tensor]:
        """Split a call into the residual stream, (1, n, d), and everything else.

        Args:
            block: the module.
            args: its positional arguments.
            kwargs: its keyword arguments.
            several: what a stream with four axes would be.

        Raises:
            CouplingError: if the stream has four axes.
            BlocksError: if there is no stream.
        """
        parameters = parameters_of(block)
        if args:
            stream = args[0]
        else:
            name = parameters[0] if parameters and parameters[0] in kwargs else "hidden_states"
            stream = kwargs.get(name)
        if isinstance(stream, Tensor) and stream.ndim == 4:
            raise CouplingError(
                f"{type(block).__name__} is called with a tensor of shape {tuple(stream.shape)}, {several}; only one "
                "stream of shape (batch, tokens, hidden) can be measured"
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
        call = cls(block, arguments, parameters[: len(args)], keywords, stream.shape[-2], packed)
        return call, stream[None] if packed else stream

    def __call__(self, stream: Float[Tensor, "1 n d"]) -> Float[Tensor, "1 n d"]:
        """Run the block alone on a residual stream."""
        return self._call(stream, self.arguments, self.keywords)

    def at(
        self, stream: Float[Tensor, "1 r d"], rows: Int[Tensor, "r"], columns: int | None = None
    ) -> Float[Tensor, "1 r d"]:
        """Run the block on some tokens only, with every argument that belongs to positions cut to these tokens.

        Args:
            stream: the residual stream of the tokens.
            rows: their positions.
            columns: the number of tokens, from the first, that attention masks are about; None leaves all.
        """
        pairs = zip(self.names, self.arguments, strict=True)
        arguments = tuple(_at(name, value, rows, self.length, columns) for name, value in pairs)
        keywords = {name: _at(name, value, rows, self.length, columns) for name, value in self.keywords.items()}
        return self._call(stream, arguments, keywords)

    @property
    def memory_name(self) -> str | None:
        """The name of the block's argument for a cache; None if it takes none."""
        accepted = parameters_of(self.block)
        return next((name for name in NAMES if name in (*self.names, *self.keywords, *accepted)), None)

    def remembering(self, memory: Cache) -> "BlockCall":
        """The same call with a cache.

        Raises:
            ValueError: if the block takes none.
        """
        name = self.memory_name
        if name is None:
            raise ValueError(f"{type(self.block).__name__} takes no cache")
        if name not in self.names:
            return replace(self, keywords=self.keywords | {name: memory})
        at = self.names.index(name)
        return replace(self, arguments=(*self.arguments[:at], memory, *self.arguments[at + 1 :]))

    def _call(self, stream: Tensor, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
        if self.packed:
            stream = stream[0]
        # a block may write into a container that it is given, for the blocks after it: each call has its own
        arguments = tuple(stream if value is STREAM else _copied(value) for value in arguments)
        keywords = {name: stream if value is STREAM else _copied(value) for name, value in keywords.items()}
        frozen = {name: p.clone() for name, p in self.block.named_parameters() if p.is_inference()}
        frozen |= {name: b.clone() for name, b in self.block.named_buffers() if b.is_inference()}
        if frozen:  # tensors made in inference mode cannot be saved for a derivative
            return self.stream_of(torch.func.functional_call(self.block, frozen, arguments, keywords))
        return self.stream_of(self.block(*arguments, **keywords))

    def stream_of(self, result: Any) -> Float[Tensor, "1 n d"]:
        """The residual stream in what the block returned: the tensor itself, or the first of a tuple or a mapping.

        Raises:
            BlocksError: if it returned something else.
        """
        several = list(result.values()) if isinstance(result, Mapping) else result
        output = several[0] if isinstance(several, (tuple, list)) and several else several
        if not isinstance(output, Tensor):
            raise BlocksError(
                f"{type(self.block).__name__} returns {type(output).__name__} and no tensor, so it is not a residual "
                "block"
            )
        return output[None] if self.packed else output

    def check_whole(self, stream: Float[Tensor, "1 n d"], result: Any) -> None:
        """Check that the residual stream is one tensor: some models pass what was added last beside the rest.

        Raises:
            CouplingError: if the block was given a second tensor, and returned its sum with the first.
        """
        given = _like(stream, (*self.arguments, *self.keywords.values()))
        returned = _like(stream, result[1:]) if isinstance(result, tuple) else []
        if any(torch.allclose(after, stream + other) for after in returned for other in given if other.any()):
            raise CouplingError(
                f"{type(self.block).__name__} is given the residual stream in two parts, of which it returns the sum; "
                "only a stream that is one tensor can be measured"
            )


def _like(stream: Tensor, values: Iterable[Any]) -> list[Tensor]:
    """Those that are tensors of the stream's size."""
    tensors = [value for value in values if isinstance(value, Tensor) and value.numel() == stream.numel()]
    return [tensor.detach().reshape(stream.shape) for tensor in tensors if tensor.shape[-1] == stream.shape[-1]]


def _recorded(value: Any, stream: Tensor) -> Any:
    """An argument as it is kept: the stream becomes a placeholder, and caches are left out."""
    if isinstance(value, CACHES):
        return None
    if isinstance(value, Tensor) and value.shape == stream.shape and value.data_ptr() == stream.data_ptr():
        return STREAM
    return _copied(value)


def _copied(value: Any) -> Any:
    """A container by itself, with the same contents; anything else as it is."""
    return copy.copy(value) if isinstance(value, (list, dict, UserDict)) else value


def _at(name: str, value: Any, rows: Tensor, length: int, columns: int | None) -> Any:
    """Cut one argument to some positions; a wrong cut is noticed when the block's output is compared."""
    if name.startswith("encoder_hidden"):  # of the other half; it may have as many tokens
        return value
    if name == "position_embeddings" and _are_planar(value):
        return type(value)([_rotation_at(one, rows, length, fill) for one, fill in zip(value, (1, 0), strict=True)])
    if name == "rope" and isinstance(value, Tensor):  # timm's: sines and cosines side by side
        return torch.cat(
            [_rotation_at(one, rows, length, fill) for one, fill in zip(value.chunk(2, -1), (0, 1), strict=True)], -1
        )
    if isinstance(value, (tuple, list)):
        return type(value)(_at(name, item, rows, length, columns) for item in value)
    if isinstance(value, dict):
        return {key: _at(name, item, rows, length, columns) for key, item in value.items()}
    if not isinstance(value, Tensor):
        return value
    is_mask = any(word in name for word in ("mask", "bias", "alibi"))
    is_about_keys = is_mask and "token" not in name and "encoder" not in name
    if columns is not None and is_about_keys and value.ndim and value.shape[-1] == length:
        value = value[..., :columns]  # the keys
    if name in ("position_ids", "cache_position"):
        axis = value.ndim - 1
    elif is_mask:  # one row per query; or, of single tokens, one entry per token
        axis = value.ndim - 2 if value.ndim >= 3 else value.ndim - 1 if "token" in name else -1
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
