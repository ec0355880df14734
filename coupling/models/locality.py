"""Which blocks may be replayed on single tokens: found out by comparing both paths, never assumed.

For every block, at the greatest length of a prompt so far, the token-local and the full-sequence path must agree in
value and in the derivative along one random direction. A check costs one full-sequence forward and backward pass of
each block, once per model and greatest length.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor, nn

from coupling.models import attention
from coupling.models.tail import Tail


@dataclass
class Locality:
    """What the checks have found out about a model; kept while the model lives.

    Attributes:
        interface: whether the recording attention serves the model at all.
        own: attention modules that the recording attention does not reproduce.
        full: blocks that must replay the full sequence, with the reason.
        verified: for each block the greatest prompt length at which its paths were compared.
        tails: for each block the last layers whose derivative is their weight.
    """

    interface: bool = True
    own: WeakSet[nn.Module] = field(default_factory=WeakSet)
    full: dict[int, str] = field(default_factory=dict)
    verified: dict[int, int] = field(default_factory=dict)
    tails: dict[int, Tail] = field(default_factory=dict)


class Replayable(Protocol):
    """What the checks need of a recording."""

    @property
    def locality(self) -> Locality:
        """What is known about the model."""
        ...

    @property
    def tape(self) -> attention.Tape:
        """What each attention module saw."""
        ...

    @property
    def trajectory(self) -> Tensor:
        """The residual stream, (L + 1, n, d)."""
        ...

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        ...

    @property
    def n_tokens(self) -> int:
        """n, the number of tokens."""
        ...

    def is_local(self, block: int) -> bool:
        """Whether a block is replayed on one token alone."""
        ...

    def product(self, block: int, u: Tensor, *, local: bool) -> tuple[Tensor, Tensor]:
        """The update of the last token, and ``J^T u`` at it."""
        ...


def verify(recording: Replayable) -> bool:
    """Compare the two paths of every block, at the greatest prompt length so far.

    Returns:
        False where a module, or the whole model, must be recorded by its own attention, so that the pass is repeated.
    """
    locality, n = recording.locality, recording.n_tokens
    if not locality.interface:
        return True
    generator = torch.Generator().manual_seed(0)
    for block in range(recording.n_blocks):
        if locality.verified.get(block, 0) >= n:
            continue
        stream = recording.trajectory[block]
        u = torch.randn(recording.trajectory.shape[-1], generator=generator, dtype=torch.float64).to(stream)
        scale = recording.trajectory[block + 1, n - 1]
        expected = scale - stream[n - 1]
        try:
            value, pulled = recording.product(block, u, local=False)
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            locality.full.setdefault(block, "its full-sequence replay failed")
            locality.verified[block] = n
            continue  # asked for, it fails again with its reason
        if not close(value, expected, scale):
            modules = [m for index, m in recording.tape.attended if index == block and m not in locality.own]
            locality.own.update(modules)
            if not modules:  # the model itself acts differently under another attention's name (DeepSeek V3.2)
                locality.interface = False
            return False
        elif recording.is_local(block) and not _agrees(recording, block, u, value, pulled, scale):
            locality.full[block] = "its derivative on one token is not that on the full sequence"
        locality.verified[block] = n
    return True


def _agrees(recording: Replayable, block: int, u: Tensor, value: Tensor, pulled: Tensor, scale: Tensor) -> bool:
    """Whether the token-local path has the value and the derivative of the full sequence."""
    try:
        local_value, local_pulled = recording.product(block, u, local=True)
    except Exception as error:  # a block that cannot be cut to one token raises anything
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return False
    return close(local_value, value, scale) and same_direction(local_pulled, pulled)


def same_direction(a: Tensor, b: Tensor) -> bool:
    """Whether two derivatives agree to the rounding of their dtype, with room for cancellation inside the block."""
    eps = max(torch.finfo(a.dtype).eps, torch.finfo(torch.float32).eps)
    error = torch.linalg.vector_norm((a - b).double())
    return bool(error <= 256 * eps * torch.linalg.vector_norm(b.double()).clamp_min(1e-30))


def close(value: Tensor, expected: Tensor, scale: Tensor) -> bool:
    """Whether two vectors agree to the rounding of their dtype, relative to the residual stream they were read from."""
    precision = max(torch.finfo(value.dtype).eps, torch.finfo(torch.float32).eps)  # softmax is often in float32
    tolerance = (64 if value.dtype.itemsize > 2 else 16) * precision
    error = torch.linalg.vector_norm((value - expected).double())
    return bool(error <= tolerance * torch.linalg.vector_norm(scale.double()).clamp_min(1e-30))


def noted(locality: Locality, model: nn.Module, block: int) -> dict[str, Any]:
    """What the checks have found out about a block, and about the model, as JSON; ``recall`` knows it again.

    Args:
        locality: what is known.
        model: the model.
        block: index of the block.
    """
    names = {module: name for name, module in model.named_modules()}
    tail = locality.tails.get(block)
    return {
        "interface": locality.interface,
        "own": sorted(names[module] for module in locality.own),
        "full": locality.full.get(block),
        "verified": locality.verified.get(block),
        "last": None if tail is None else [names[module] for module in tail.last],
        "inner": None if tail is None else [[names[module] for module in group] for group in tail.inner],
    }


def recall(known: dict[str, Any], locality: Locality, model: nn.Module, block: int) -> None:
    """Know again what ``noted`` says of a block."""
    locality.own.update(model.get_submodule(name) for name in known["own"])
    if known["full"] is not None:
        locality.full[block] = known["full"]
    if known["verified"] is not None:
        locality.verified[block] = known["verified"]
    if known["last"] is not None:
        last, *inner = (tuple(map(model.get_submodule, names)) for names in (known["last"], *known["inner"]))
        locality.tails[block] = Tail(last, tuple(inner))
