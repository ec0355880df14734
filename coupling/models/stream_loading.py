"""Whether a checkpoint is streamed, and how transformers loads one whose blocks stay on disk."""

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PretrainedConfig

from coupling.errors import CouplingError
from coupling.models.folder import Found
from coupling.models.formats import quantization_of
from coupling.models.offloading import Offloaded, device_map, offloaded_names
from coupling.models.size import least_parameters, memory_of, stored_numbers

Stream = bool | Literal["auto"]
SHARE = 0.9
"""The share of a device's memory that weights may take; what is measured needs the rest."""


def check_stream(stream: Any) -> None:
    """Check the argument ``stream``.

    Raises:
        CouplingError: if it is something else.
    """
    if stream not in (True, False, "auto"):
        raise CouplingError(f"`stream` is {stream!r}, but must be True, False or 'auto'")


def why_not(config: PretrainedConfig, form: str | None, *, is_adapter: bool, is_random: bool) -> str | None:
    """Why the blocks of a checkpoint cannot stay on disk; None where they can.

    Args:
        config: its configuration.
        form: what its weights are: see ``Found``; None on the hub.
        is_adapter: whether an adapter will be merged into it.
        is_random: whether its weights will be drawn at random.
    """
    quantization = quantization_of(config)
    if is_random:
        return "random weights are drawn in memory"
    if is_adapter:
        return "an adapter is merged into all blocks of its base in memory; merge and save it first"
    if form == "gguf":
        return "a GGUF file is converted as a whole"
    if quantization is not None:
        return f"weights that are quantized by {quantization} are converted as a whole"
    if form == "bin":
        return "pickled weights are read as a whole; save them as safetensors"
    return None


def is_streamed(
    stream: Stream,
    reason: str | None,
    name: str,
    config: PretrainedConfig,
    found: Found | None,
    precision: torch.dtype,
    device: str,
) -> bool:
    """Whether the blocks of a checkpoint stay on disk.

    Args:
        stream: what was asked for; "auto" streams what can be streamed and does not fit into the device's memory.
        reason: why it cannot be streamed; None where it can.
        name: what the user called the checkpoint.
        config: its configuration.
        found: its weights; None where they are not known.
        precision: the dtype that the weights will have.
        device: where the model will be.

    Raises:
        CouplingError: if it was asked for and is not possible.
    """
    if stream is True and reason is not None:
        raise CouplingError(f"{name} cannot be streamed from disk: {reason}")
    if stream != "auto":
        return stream
    memory = memory_of(device)
    if reason is not None or memory is None:
        return False
    stored = stored_numbers(found) if found is not None else None
    return max(least_parameters(config), stored or 0) * precision.itemsize > SHARE * memory


def load_offloaded(
    load: Callable[..., tuple[Any, dict[str, Any]]],
    empty: Callable[[PretrainedConfig], nn.Module],
    find: Callable[[Any], list[nn.Module]],
    config: PretrainedConfig,
    device: str,
) -> tuple[Any, dict[str, Any], Offloaded]:
    """A model whose blocks stay on disk, and transformers' report on how the weights fit.

    Args:
        load: transformers' loader; it is given the keywords that say what stays on disk.
        empty: makes a model of a configuration.
        find: the blocks that are measured, of a model.
        config: the configuration.
        device: where everything else goes.
    """
    with init_empty_weights():
        skeleton = empty(copy.deepcopy(config))
    names = offloaded_names(skeleton, find(skeleton))
    places = device_map(skeleton, names, device)
    del skeleton
    folder = tempfile.TemporaryDirectory(prefix="coupling-weights-")  # of converted weights alone
    with _quiet_accelerate():
        model, report = load(device_map=places, offload_folder=folder.name)
    return model, report, Offloaded(model, names, device, folder)


@contextmanager
def _quiet_accelerate() -> Iterator[None]:
    """A context in which accelerate does not warn that weights are on disk, where they were asked to be."""
    log = logging.getLogger("accelerate.big_modeling")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
