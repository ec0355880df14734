r"""What a block keeps of the tokens before one: convolution and recurrent states, keys and values.

A block that has a memory (a state-space layer, linear attention, an attention of its own kind) is given transformers'
cache when text is generated: it reads there what the earlier tokens left, and needs the new token alone. ``Memory`` is
such a cache. A block first runs on the tokens before t and writes into it; then it is frozen, and the block runs on
token t from what was written. So ``J_tt`` costs one token here as well, and one pass without derivatives to fill it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import Cache

NAMES = ("past_key_values", "past_key_value", "cache_params", "layer_past")
"""What blocks call the argument."""


class Memory(Cache):
    """A cache of one block that is filled once, and then gives the same answers at every call.

    Args:
        keys: whether keys and values of earlier tokens are put in front of the new ones; False where attention has
            them from elsewhere.
    """

    def __init__(self, *, keys: bool) -> None:
        super().__init__(layers=[])
        self.keys, self.frozen, self.length = keys, False, 0
        self._kept: dict[tuple[Any, ...], Tensor] = {}
        self._given: list[Tensor] = []

    def freeze(self, length: int) -> None:
        """End the filling, after so many tokens."""
        self.frozen, self.length = True, length

    @property
    def size(self) -> int:
        """The number of elements that were kept."""
        return sum(kept.numel() for kept in self._kept.values())

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values, (1, heads, n, head)."""
        if not self.keys:
            return key_states, value_states
        return self._longer(("key", layer_idx), key_states, -2), self._longer(("value", layer_idx), value_states, -2)

    def update_indexer(self, indexer_key_states: Tensor, layer_idx: int) -> Tensor:
        """All keys of a sparse attention's indexer, (1, n, head)."""
        return self._longer(("indexer", layer_idx), indexer_key_states, -2)

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The last inputs of a convolution before the new token, (1, channels, kernel)."""
        return self._get("convolution", layer_idx, state_idx)

    def update_conv_state(
        self, conv_states: Tensor, layer_idx: int, state_idx: int = 0, conv_kernel_size: int | None = None, **_: Any
    ) -> Tensor:
        """The inputs of a convolution with those before them in front, at least as many as its kernel is long."""
        place = ("convolution", layer_idx, state_idx)
        if self.frozen and place in self._kept:
            return torch.cat([self._kept[place], conv_states], -1)
        size = conv_kernel_size or conv_states.shape[-1]
        whole = torch.nn.functional.pad(conv_states, (max(0, size - conv_states.shape[-1]), 0))
        if not self.frozen:
            self._kept[place] = whole[..., -size:]
        return whole

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The state before the new token."""
        return self._get("state", layer_idx, state_idx)

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any) -> Tensor:
        """Keep the state after the tokens."""
        if not self.frozen:
            self._kept["state", layer_idx, state_idx] = recurrent_states
        return recurrent_states

    def get_linear_cache(self, layer_idx: int) -> Tensor | None:
        """The state of MiniMax's linear attention."""
        return self.get_recurrent_state(layer_idx)

    def set_linear_cache(self, layer_idx: int, cache: Tensor) -> None:
        """Keep the state of MiniMax's linear attention."""
        self.update_recurrent_state(cache, layer_idx)

    def has_previous_state(self, layer_idx: int | None = None, state_idx: int | None = None) -> bool:
        """Whether there are tokens before the new one."""
        return self.frozen

    def is_recording_past(self, layer_idx: int | None = None) -> bool:
        """Nothing is taken back."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens before the new one."""
        return self.length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """The position of the new token."""
        return self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """The number of keys, and the position of the first."""
        return self.length + query_length, 0

    def writes_nowhere(self) -> TorchFunctionMode:
        """A context in which a write into a state that was given out is left out: derivatives need its old values."""
        return _WritesNowhere(self._given)

    def _get(self, *place: Any) -> Tensor | None:
        if not self.frozen or place not in self._kept:
            return None
        self._given.append(self._kept[place].clone())
        return self._given[-1]

    def _longer(self, place: tuple[Any, ...], new: Tensor, dim: int) -> Tensor:
        if self.frozen:
            return torch.cat([self._kept[place], new], dim) if place in self._kept else new
        self._kept[place] = new
        return new


class RecordedKeys(Cache):
    """A cache that gives a block the keys and values of earlier tokens as they were recorded.

    Args:
        key: those of the earlier tokens, (key heads, n, head).
        value: their values.
    """

    def __init__(self, key: Tensor, value: Tensor) -> None:
        super().__init__(layers=[])
        self.key, self.value = key[None], value[None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values, (1, heads, n, head)."""
        return torch.cat([self.key, key_states], -2), torch.cat([self.value, value_states], -2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of earlier tokens."""
        return self.key.shape[-2]


class _WritesNowhere(TorchFunctionMode):
    """Leaves out ``copy_`` into some tensors and their views."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self.tensors = tensors

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.copy_ and any(args[0] is given or args[0]._base is given for given in self.tensors):
            return args[0]
        return func(*args, **(kwargs or {}))
