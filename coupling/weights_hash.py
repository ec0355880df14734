r"""A hash of all weights of a model, at the speed of memory.

Every byte is read at every call: no version counter of a parameter tells of a change through ``.data`` or through a
NumPy view, and a stale hash would say that two different models are the same. XXH3 with 128 bits reads about as fast as
memory delivers, about ten times as fast as SHA-256. It recognizes weights; it is no protection against somebody who
constructs other weights with the same hash, which ``algorithm="sha256"`` is.

Weights on an accelerator are copied to the host for this. The copy is made once for each model: a checksum on the
device, which also reads every byte, tells whether anything has changed since. A term of it is a bijective mix of one
64-bit word with its place, so that a single changed word always changes the sum

.. math:: \sum_i \operatorname{mix}(x_i + i\,g) \bmod 2^{64}
"""

import hashlib
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

Algorithm = Literal["xxh3-128", "sha256"]

GOLDEN = -7046029254386353131
"""g: 2^64 divided by the golden ratio, as a signed number; the step of SplitMix64 (Steele, Lea, Flood 2014)."""
CHUNK = 2**24
"""Words of a checksum that are mixed at once."""

_on_device: WeakKeyDictionary[nn.Module, tuple[str, str]] = WeakKeyDictionary()
"""The checksum on the device and the hash of models whose weights are on an accelerator."""


def weights_hash(model: nn.Module, algorithm: Algorithm = "xxh3-128") -> str:
    """A hash over the parameters and buffers of a model: names, dtypes, shapes and bytes.

    Args:
        model: the model.
        algorithm: "xxh3-128", or "sha256", which versions up to 0.2.0 recorded.

    Returns:
        ``xxh3-128:`` and 32 hexadecimal digits; with "sha256" 64 digits alone.

    Example:
        >>> layer = torch.nn.Linear(4, 4)
        >>> before = weights_hash(layer)
        >>> layer.weight.data[0, 0] += 1
        >>> weights_hash(layer) == before, before[:9]
        (False, 'xxh3-128:')
    """
    state = _state(model)
    if algorithm == "sha256":
        return _sha256(state)
    if not any(tensor.device.type not in ("cpu", "meta") for tensor in state.values()):
        return _xxh3(state)
    now = ",".join(f"{name} {tensor.dtype} {tuple(tensor.shape)} {checksum(tensor)}" for name, tensor in state.items())
    checked, known = _on_device.get(model, ("", ""))
    if checked != now:
        known = _xxh3(state)
        _on_device[model] = (now, known)
    return known


def _xxh3(state: dict[str, Tensor]) -> str:
    """The hash of every tensor, then of the list of them; tied tensors are read once."""
    digests: dict[tuple[object, ...], str] = {}
    described = {}
    for name, tensor in state.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place not in digests:
            digests[place] = digest_of(tensor)
        described[name] = (tensor.dtype, tensor.shape, digests[place])
    return combined_hash(described)


def digest_of(tensor: Tensor) -> str:
    """The hash of the bytes of one tensor, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(_bytes(tensor))


def combined_hash(described: dict[str, tuple[torch.dtype, torch.Size, str]]) -> str:
    """The hash of a model, from the dtype, the shape and the digest of each of its tensors."""
    whole = xxhash.xxh3_128()
    for name, (dtype, shape, digest) in sorted(described.items()):
        whole.update(f"{name} {dtype} {tuple(shape)} {digest}\n".encode())
    return f"xxh3-128:{whole.hexdigest()}"


def _sha256(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def checksum(tensor: Tensor) -> int:
    """A 64-bit checksum of the bytes of a tensor, computed where the tensor is."""
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    rest = len(raw) % 8
    if rest:
        raw = torch.cat([raw, raw.new_zeros(8 - rest)])
    words = raw.view(torch.int64) if raw.storage_offset() % 8 == 0 else raw.clone().view(torch.int64)
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for start in range(0, len(words), CHUNK):
        part = words[start : start + CHUNK]
        total = total + _mix(part + GOLDEN * torch.arange(start, start + len(part), device=tensor.device)).sum()
    return int(total)


def _mix(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64, a bijection of 64-bit words; shifts fill with zeros."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x = (x ^ ((x >> shift) & (2 ** (64 - shift) - 1))) * factor
    return x ^ ((x >> 31) & (2**33 - 1))


def _bytes(tensor: Tensor) -> memoryview:
    raw: np.ndarray = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.data


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model; of weights that accelerate keeps on the CPU or on disk, what it would load."""
    state = model.state_dict()
    if not any(tensor.device.type == "meta" for tensor in state.values()):
        return state
    from accelerate.utils.modeling import get_state_dict_offloaded_model

    return get_state_dict_offloaded_model(model)
