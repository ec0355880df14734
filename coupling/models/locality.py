"""How each block may be replayed: found out by comparing a fast replay with that of the full sequence, never assumed.

For every block, at the greatest length of a prompt so far, a replay must agree with the full sequence in value and in
the derivative along one random direction. A check costs one full-sequence forward and backward pass of each block,
once per model and greatest length. A block that cannot be replayed on one token with the recorded attention is checked
from its own memory (``coupling.models.recurrence``), and at a middle token on the tokens up to it, which costs about
three more passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coupling.linalg.jacobian import Replay
from coupling.models import attention
from coupling.models.heads import Heads
from coupling.models.linear_calls import same_direction
from coupling.models.tail import Tail

LONGEST_CHECK = 1024
"""Tokens of a longer prompt on which derivatives are compared: the attention that has them takes n^2 numbers a head."""


@dataclass
class Locality:
    """What the checks have found out about a model; kept while the model lives.

    Attributes:
        interface: whether the recording attention serves the model at all.
        eager: whether the model's eager attention serves where the recording attention does; some cannot repeat the
            keys of grouped queries, and the attention that the model was loaded with is used.
        own: attention modules that the recording attention does not reproduce.
        right: for each block the replays that agree with the full sequence, the fastest first.
        failed: replays that once did not serve a block; they are not tried again.
        verified: for each block the greatest prompt length at which its replays were compared.
        tails: for each block the last layers whose derivative is their weight.
        heads: for each block the heads of its attention, where it is differentiated head by head.
        together: for each block and number of tokens per Jacobian whether many tokens can be replayed in one pass.
    """

    interface: bool = True
    eager: bool = True
    own: WeakSet[nn.Module] = field(default_factory=WeakSet)
    right: dict[int, list[Replay]] = field(default_factory=dict)
    failed: set[tuple[int, Replay]] = field(default_factory=set)
    verified: dict[int, int] = field(default_factory=dict)
    tails: dict[int, Tail] = field(default_factory=dict)
    heads: dict[int, Heads] = field(default_factory=dict)
    together: dict[tuple[int, int], bool] = field(default_factory=dict)


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
    def calls(self) -> Sequence[object]:
        """How the model called each block; None for a block that is not in memory."""
        ...

    @property
    def n_tokens(self) -> int:
        """n, the number of tokens."""
        ...

    def possible(self, block: int, replay: Replay) -> bool:
        """Whether a replay can be tried on a block."""
        ...

    def product(self, block: int, token: int, u: Tensor, replay: Replay) -> tuple[Tensor, Tensor]:
        """The update of a token, and ``J^T u`` at it."""
        ...

    def own_value(self, block: int) -> Tensor:
        """The update of the last token by the attention that the model was loaded with."""
        ...

    def own_value_alone(self, block: int) -> Tensor | None:
        """As ``own_value``, from the recorded keys and values of the other tokens; None where that cannot be."""
        ...


def verify(recording: Replayable, *, checked_shorter: bool = False) -> bool:
    """Compare the replays of every block, at the greatest prompt length so far.

    Args:
        recording: the prompt's forward pass.
        checked_shorter: the derivatives were compared on the first ``LONGEST_CHECK`` tokens of this long prompt; of the
            whole of it only the values are, with the attention that the model was loaded with.

    Returns:
        False where a module, or the whole model, must be recorded by its own attention, so that the pass is repeated.
    """
    locality, n = recording.locality, recording.n_tokens
    generator = torch.Generator().manual_seed(0)
    for block, call in enumerate(recording.calls):
        if call is None or locality.verified.get(block, 0) >= n:
            continue  # of a streamed model only one block is there
        stream = recording.trajectory[block]
        u = torch.randn(recording.trajectory.shape[-1], generator=generator, dtype=torch.float64).to(stream)
        scale = recording.trajectory[block + 1, n - 1]
        expected = scale - stream[n - 1]
        if checked_shorter and not _is_reproduced(recording, block, expected, scale):
            return _by_own_attention(recording, block)
        if checked_shorter:
            locality.verified[block] = n
            continue
        locality.right[block] = []
        full = _full_sequence(recording, block, u)
        if full is None:
            locality.verified[block] = n
            continue  # asked for, it fails again with its reason
        if not close(full[0], expected, scale) and locality.interface:
            return _by_own_attention(recording, block)
        locality.right[block] = _right(recording, block, u, full)
        locality.verified[block] = n
    return True


def _by_own_attention(recording: Replayable, block: int) -> bool:
    """Record a block's attention by its own function from now on; False, so that the pass is repeated."""
    locality = recording.locality
    modules = [m for index, m in recording.tape.attended if index == block and m not in locality.own]
    locality.own.update(modules)
    if not modules:  # the model itself acts differently under another attention's name (DeepSeek V3.2)
        locality.interface = False
        locality.verified.clear()
    return False


def _is_reproduced(recording: Replayable, block: int, expected: Tensor, scale: Tensor) -> bool:
    """Whether the model's own attention gives the recorded update of the last token; True where it cannot be said."""
    if not recording.locality.interface:
        return True  # it was recorded by the model's own attention
    # The last token alone costs next to nothing. Where it does not agree, it may be this call that is wrong (a sparse
    # attention chooses among keys that it keeps elsewhere), so all tokens decide.
    for own_value in (recording.own_value_alone, recording.own_value):
        try:
            value = own_value(block)
        except Exception as error:  # a block called alone raises anything
            if isinstance(error, torch.OutOfMemoryError):
                raise
            if own_value == recording.own_value:
                return True  # what cannot be replayed is refused when it is asked for
            continue
        if value is not None and close(value, expected, scale):
            return True
    return False


def _full_sequence(recording: Replayable, block: int, u: Tensor) -> tuple[Tensor, Tensor] | None:
    """The update of the last token by the full sequence, and ``J^T u`` at it; None where the replay fails."""
    before = recording.locality.eager
    for eager in dict.fromkeys((before, False)):
        recording.locality.eager = eager
        try:
            return recording.product(block, recording.n_tokens - 1, u, "full-sequence")
        except Exception as error:  # a block called alone raises anything
            if isinstance(error, torch.OutOfMemoryError):
                raise
    recording.locality.eager = before
    return None


def _right(recording: Replayable, block: int, u: Tensor, full: tuple[Tensor, Tensor]) -> list[Replay]:
    """The replays of a block that agree with the full sequence."""
    last = recording.n_tokens - 1
    if _agrees(recording, block, last, u, "token-local", full):
        return ["token-local"]
    right: list[Replay] = []
    if _agrees(recording, block, last, u, "recorded-state", full):
        right.append("recorded-state")
    if recording.possible(block, "prefix"):
        middle = last // 2  # at the last token the prefix is the full sequence
        full = recording.product(block, middle, u, "full-sequence")
        if _agrees(recording, block, middle, u, "prefix", full):
            right.append("prefix")
    return right


def _agrees(
    recording: Replayable, block: int, token: int, u: Tensor, replay: Replay, full: tuple[Tensor, Tensor]
) -> bool:
    """Whether a replay has the value and the derivative of the full sequence; if not, it is not tried again."""
    if not recording.possible(block, replay):
        return False
    try:
        value, pulled = recording.product(block, token, u, replay)
    except Exception as error:  # a block that cannot be cut to some tokens raises anything
        if isinstance(error, torch.OutOfMemoryError):
            raise
    else:
        if close(value, full[0], recording.trajectory[block + 1, token]) and same_direction(pulled, full[1]):
            return True
    recording.locality.failed.add((block, replay))
    return False


def as_tuples(nested: Any) -> Any:
    """Lists in lists as tuples in tuples.

    Example:
        >>> as_tuples([[1, 2], [[3]]])
        ((1, 2), ((3,),))
    """
    return tuple(map(as_tuples, nested)) if isinstance(nested, (list, tuple)) else nested


def close(value: Float[Tensor, "*g d"], expected: Float[Tensor, "*g d"], scale: Float[Tensor, "*g d"]) -> bool:
    """Whether vectors agree to the rounding of their dtype, relative to the residual stream they were read from."""
    precision = max(torch.finfo(value.dtype).eps, torch.finfo(torch.float32).eps)  # softmax is often in float32
    tolerance = (64 if value.dtype.itemsize > 2 else 16) * precision
    error = torch.linalg.vector_norm((value - expected).double(), dim=-1)
    return bool((error <= tolerance * torch.linalg.vector_norm(scale.double(), dim=-1).clamp_min(1e-30)).all())


def noted(locality: Locality, model: nn.Module, block: int) -> dict[str, Any]:
    """What the checks have found out about a block, and about the model, as JSON; ``recall`` knows it again.

    Args:
        locality: what is known.
        model: the model.
        block: index of the block.
    """
    names = {module: name for name, module in model.named_modules()}
    tail, heads = locality.tails.get(block), locality.heads.get(block)
    return {
        "interface": locality.interface,
        "eager": locality.eager,
        "own": sorted(names[module] for module in locality.own),
        "right": locality.right.get(block),
        "failed": sorted(replay for number, replay in locality.failed if number == block),
        "verified": locality.verified.get(block),
        "last": None if tail is None else [names[module] for module in tail.last],
        "inner": None if tail is None else [[names[module] for module in group] for group in tail.inner],
        "heads": None if heads is None else [[names[m] for m in heads.layers], heads.runs, heads.groups],
    }


def recall(known: dict[str, Any], locality: Locality, model: nn.Module, block: int) -> None:
    """Know again what ``noted`` says of a block."""
    locality.own.update(model.get_submodule(name) for name in known["own"])
    locality.eager = locality.eager and known["eager"]
    if known["right"] is not None:
        locality.right[block] = list(known["right"])
    locality.failed.update((block, replay) for replay in known["failed"])
    if known["verified"] is not None:
        locality.verified[block] = known["verified"]
    if known["last"] is not None:
        last, *inner = (tuple(map(model.get_submodule, names)) for names in (known["last"], *known["inner"]))
        locality.tails[block] = Tail(last, tuple(inner))
    if known.get("heads") is not None:
        layers, runs, groups = known["heads"]
        locality.heads[block] = Heads(tuple(map(model.get_submodule, layers)), as_tuples(runs), as_tuples(groups))
