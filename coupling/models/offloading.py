"""Blocks whose weights stay on disk: transformers says where each weight is, and one block at a time is in memory.

A checkpoint is loaded by transformers with the device map that puts every block on "disk" and everything else on the
device. What transformers and accelerate find out stays theirs: names in the files, shards, tied weights and dtypes. Of
weights that have to be converted (experts that are merged into one tensor), the results are in a temporary folder. The
hooks of accelerate, which would read the weights at every call of every module, are removed; ``Offloaded`` keeps the
places of the weights, and ``Offloaded.load`` brings a block into memory.

While a block is in memory, a thread reads the next one, as it is stored; it is converted when its turn comes.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import remove_hook_from_submodules
from torch import Tensor, nn

from coupling.errors import CouplingError
from coupling.models.blocks import block_lists
from coupling.models.shards import Shard
from coupling.untrusted import clean
from coupling.weights_hash import combined_hash, digest_of


@dataclass(frozen=True)
class Place:
    """Where a weight is on disk.

    Attributes:
        file: a file of safetensors.
        key: its name there.
        dtype: what it becomes in memory.
    """

    file: Path
    key: str
    dtype: torch.dtype


class Offloaded:
    """The blocks of a model whose weights are on disk; at most one of them is in memory, and the next is being read.

    Args:
        model: the model, as transformers loaded it, with accelerate's hooks; they are removed.
        names: the names of the blocks, in the model's order.
        device: where the blocks are computed.
        folder: the temporary folder with weights that had to be converted; kept as long as this object.

    Attributes:
        modules: the blocks.
        reads: how often each was read from disk.
    """

    def __init__(
        self, model: nn.Module, names: list[str], device: str, folder: "tempfile.TemporaryDirectory[str] | None" = None
    ) -> None:
        self.model, self.names, self.device, self._folder = model, names, torch.device(device), folder
        self.modules = [model.get_submodule(name) for name in names]
        self.reads = dict.fromkeys(self.modules, 0)
        index = _index_of(model)
        _remove_hooks(model)
        self._places: dict[nn.Module, dict[str, Place]] = {}
        for name, module in zip(names, self.modules, strict=True):
            own = [key for key, p in module.named_parameters(remove_duplicate=False) if p.device.type == "meta"]
            self._places[module] = {key: _place(index, f"{name}.{key}") for key in own}
        files = {place.file for places in self._places.values() for place in places.values()}
        self._shards = {file: Shard(file) for file in sorted(files)}
        self._resident: nn.Module | None = None
        self._empty: dict[str, nn.Parameter] = {}
        self._next: tuple[nn.Module, Future[dict[tuple[Path, str], Tensor]]] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="coupling-read")

    @property
    def stored_bytes(self) -> int:
        """The size of all blocks on disk."""
        places = {(p.file, p.key) for places in self._places.values() for p in places.values()}
        return sum(self._shards[file].size_of(key) for file, key in places)

    def prefetch(self, module: nn.Module) -> None:
        """Begin to read a block, unless it is in memory or being read."""
        if module is self._resident or (self._next is not None and self._next[0] is module):
            return
        self._forget_next()
        self._next = (module, self._reader.submit(self._read, module))

    def load(self, module: nn.Module) -> None:
        """Bring a block into memory, in place of the one that is there.

        Raises:
            CouplingError: if its weights cannot be read, or a file has changed.
        """
        if module is self._resident:
            return
        self.release()
        self.prefetch(module)
        assert self._next is not None
        _, reading = self._next
        raw = reading.result()
        self._next = reading = None  # type: ignore[assignment]
        self.reads[module] += 1
        self._resident = module
        made: dict[tuple[Path, str], nn.Parameter] = {}
        last = {(place.file, place.key): key for key, place in self._places[module].items()}
        for key, place in self._places[module].items():
            at = (place.file, place.key)
            if at not in made:  # tied weights stay one
                made[at] = nn.Parameter(raw[at].to(self.device, place.dtype), requires_grad=False)
            if last[at] == key:
                raw.pop(at)
            self._empty[key] = _put(module, key, made[at])

    def release(self) -> None:
        """Free the block that is in memory."""
        if self._resident is not None:
            for key, empty in self._empty.items():
                _put(self._resident, key, empty)
        self._resident, self._empty = None, {}

    def close(self) -> None:
        """Free what is in memory, and end the thread that reads."""
        self.release()
        self._forget_next()
        self._reader.shutdown()

    def checked_hash(self) -> str:
        """The hash of all weights, equal to ``weights_hash`` of the whole model; it reads every block once.

        Raises:
            CouplingError: if a weight of a block is NaN or infinite, or cannot be read.
        """
        digests: dict[str, tuple[torch.dtype, torch.Size, str]] = {}
        for number, (name, module) in enumerate(zip(self.names, self.modules, strict=True)):
            for key, tensor in self._tensors(module):
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise CouplingError(
                        f"the weights of block {number} of {name.rpartition('.')[0]} contain a NaN or an infinity "
                        f"(parameter {key})"
                    )
                digests[f"{name}.{key}"] = (tensor.dtype, tensor.shape, digest_of(tensor))
        state = self.model.state_dict()
        digests |= {
            key: (tensor.dtype, tensor.shape, digest_of(tensor))
            for key, tensor in state.items()
            if tensor.device.type != "meta"
        }
        return combined_hash({key: digests[key] for key in state})

    def stored(self, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """The weights of a block one by one, as they are on disk; tied ones are one tensor."""
        raw = self._read(module)
        for key, place in self._places[module].items():
            yield key, raw[place.file, place.key]

    def _tensors(self, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """The weights of a block one by one, as they are in memory."""
        for key, place in self._places[module].items():
            yield key, self._shards[place.file].read(place.key).to(place.dtype)

    def _read(self, module: nn.Module) -> dict[tuple[Path, str], Tensor]:
        wanted = dict.fromkeys((place.file, place.key) for place in self._places[module].values())
        return {(file, key): self._shards[file].read(key) for file, key in wanted}

    def _forget_next(self) -> None:
        if self._next is not None:
            self._next[1].cancel()
            if not self._next[1].cancelled():
                self._next[1].exception()  # it is waited for; nobody wants what it read
        self._next = None


def device_map(model: nn.Module, names: list[str], device: str) -> dict[str, str]:
    """The device map that puts blocks on "disk", and everything else on a device.

    Args:
        model: the model; it may be empty.
        names: the names of the blocks.
        device: where everything else goes.
    """
    found = dict.fromkeys(names, "disk")

    def visit(module: nn.Module, prefix: str) -> None:
        for key, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            found[f"{prefix}{key}"] = device
        for key, child in module.named_children():
            name = f"{prefix}{key}"
            if any(block.startswith(f"{name}.") for block in names):
                visit(child, f"{name}.")
            elif name not in found:
                found[name] = device

    visit(model, "")
    return found


def offloaded_names(model: nn.Module, measured: list[nn.Module]) -> list[str]:
    """The names of the blocks that stay on disk: those that are measured, and those of every other list of blocks.

    Args:
        model: the model; it may be empty.
        measured: the blocks that are measured.
    """
    lists = block_lists(model)
    own = next((name for name, blocks in lists.items() if blocks[: len(measured)] == measured), None)
    if own is None:
        raise CouplingError("the blocks are not one list of modules of the model, so they cannot be streamed")
    chosen = {name: blocks for name, blocks in lists.items() if name == own or _is_apart(name, own, lists)}
    return [f"{name}.{number}" for name, blocks in chosen.items() for number in range(len(blocks))]


def _is_apart(name: str, own: str, lists: dict[str, list[nn.Module]]) -> bool:
    """Whether a list is one of blocks, and neither inside of another list nor around the one that is measured."""
    blocks = lists[name]
    is_outer = not any(name.startswith(f"{other}.") for other in lists)
    is_alike = len({type(block) for block in blocks}) == 1 and len(list(blocks[0].modules())) > 2
    return is_outer and is_alike and len(blocks) > 1 and not own.startswith(f"{name}.")


def _index_of(model: nn.Module) -> dict[str, dict[str, str]]:
    """The places of all weights on disk, which every hook of accelerate knows."""
    for module in model.modules():
        hooks = [getattr(module, "_hf_hook", None)]
        while hooks:
            hook = hooks.pop()
            hooks += list(getattr(hook, "hooks", ()))
            weights = getattr(hook, "weights_map", None)
            while hasattr(weights, "dataset"):
                weights = weights.dataset  # type: ignore[union-attr]
            if getattr(weights, "index", None):
                return weights.index  # type: ignore[union-attr]
    return {}


def _place(index: dict[str, Any], name: str) -> Place:
    entry = index.get(name)
    if entry is None or not entry.get("safetensors_file"):
        raise CouplingError(f"transformers does not say where the weight {clean(name, 200)} is, so it is not streamed")
    return Place(Path(entry["safetensors_file"]).resolve(), entry["weight_name"], getattr(torch, entry["dtype"]))


def _remove_hooks(model: nn.Module) -> None:
    remove_hook_from_submodules(model)
    for module in model.modules():
        own = vars(module).get("forward")
        if own is not None and getattr(own, "__func__", None) is type(module).forward:
            del module.forward  # accelerate leaves the method of the class as an attribute of the module


def _put(module: nn.Module, key: str, parameter: nn.Parameter) -> nn.Parameter:
    """Replace a parameter; the one that was there."""
    owner, _, name = key.rpartition(".")
    place = module.get_submodule(owner)
    before = place._parameters[name]
    assert before is not None
    place._parameters[name] = parameter
    return before
