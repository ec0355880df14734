"""A block replayed as it was recorded: what it adds at one token, as a function of its input at another."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from coupling.linalg.jacobian import Replay
from coupling.models import attention
from coupling.models.calls import BlockCall
from coupling.models.recurrence import Memory


@dataclass(frozen=True)
class Place:
    """Where a block is replayed, and with which attention.

    Attributes:
        model: the model.
        call: how the model called the block.
        block: the number of the call.
        stream: the block's input, (n, d).
        tape: what each attention module saw.
        interface: whether the recording attention serves the model.
        eager: whether the model's eager attention serves it then.
    """

    model: nn.Module
    call: BlockCall
    block: int
    stream: Float[Tensor, "n d"]
    tape: attention.Tape
    interface: bool
    eager: bool

    @property
    def is_recorded(self) -> bool:
        """Whether the block's attention, if it has any, is on the tape."""
        return self.interface and self.block not in self.tape.foreign

    def remembered(self, token: int) -> tuple[BlockCall, Memory]:
        """The call of the block with what it keeps of the tokens before one.

        Raises:
            ValueError: if the block takes no cache.
        """
        memory = Memory(keys=not (self.is_recorded and self.tape.attends(self.block)))
        call = self.call.remembering(memory)
        before = torch.arange(token, device=self.stream.device)
        with torch.no_grad(), entered(self.own_attention()):
            call.at(self.stream[None, :token], before, token)
        memory.freeze(token)
        return call, memory

    def recorded_attention(self, kept: Sequence[int]) -> list[AbstractContextManager[Any]]:
        """Contexts in which attention computes some tokens, with all others as recorded."""
        rows = torch.tensor(kept, device=self.stream.device)
        return [
            attention.implementation(self.model, attention.NAME),
            attention.replaying(self.tape, self.block, rows),
        ]

    def own_attention(self) -> list[AbstractContextManager[Any]]:
        """Contexts in which attention is the model's own."""
        return [
            attention.implementation(self.model, "eager" if self.interface and self.eager else None),
            sdpa_kernel(SDPBackend.MATH),
        ]


@dataclass(frozen=True)
class Replayed:
    """f(X)_t as a function of x_s, which is to be called inside the contexts.

    Attributes:
        function: the function; (d,) -> (d,).
        contexts: the contexts.
        n_tokens: the number of tokens that it computes, or as many as take the memory of its states and keys.
        read: the index of the output token among them.
    """

    function: Callable[[Tensor], Tensor]
    contexts: list[AbstractContextManager[Any]] = field(default_factory=list)
    n_tokens: int = 1
    read: int = 0


def replayed(place: Place, token: int, target: int, replay: Replay) -> Replayed:
    """What a block adds at the token ``target``, as a function of its input at ``token``.

    The skip connection is taken out where the two are the same token.

    Args:
        place: the block.
        token: the input token s.
        target: the output token t.
        replay: how the block is replayed.

    Raises:
        Exception: anything that the block raises when it is cut to some tokens.
    """
    call, columns, extra = place.call, None, 0
    if replay == "token-local":
        kept: Sequence[int] = sorted({token, target})
        contexts = place.recorded_attention(kept)
    elif replay == "recorded-state":
        kept, columns = [token], token + 1
        call, memory = place.remembered(token)
        contexts = place.own_attention() if memory.keys else place.recorded_attention(kept)
        contexts.append(memory.writes_nowhere())
        # a pass back has a few gradients of the size of the states; a token has about 48 of the stream's width
        extra = 4 * memory.size // (48 * place.stream.shape[-1])
    else:
        columns = max(token, target) + 1 if replay == "prefix" else None
        kept = range(columns or len(place.stream))
        contexts = place.own_attention()
    rows = torch.tensor(kept, device=place.stream.device)
    moving, read = kept.index(token), kept.index(target)
    frozen = place.stream[rows]
    position = torch.tensor([moving], device=place.stream.device)

    def residual_update(x: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
        """f(X)_t as a function of x_s; every other token of X is frozen."""
        # a token alone is passed on as it is: the derivatives of index_copy and of x[0, 0] copy every direction
        moved = frozen.index_copy(0, position, x[None])[None] if len(frozen) > 1 else x[None, None]
        output = call(moved) if replay == "full-sequence" else call.at(moved, rows, columns)
        update = output[0, read] if len(frozen) > 1 else output.reshape(x.shape)
        return update - x if moving == read else update

    return Replayed(residual_update, contexts, len(kept) + extra, read)


@contextmanager
def entered(contexts: Sequence[AbstractContextManager[Any]]) -> Iterator[None]:
    """All of some contexts at once."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield
