r"""One forward pass that records what enters every block; its Recording then gives Jacobians of any block and token.

A Jacobian is computed by one of four replays of the block:

- *token-local*: on the input and the output token alone, with the keys and values of the others as recorded.
- *recorded-state*: on one token alone, from what the block itself keeps of the tokens before it when text is generated.
  State-space and linear-attention blocks, and attention of an own kind, are replayed so.
- *prefix*: on the tokens up to the output token.
- *full-sequence*: on the whole prompt, with the model's own attention.

Which blocks may take which is not decided by what is known of an architecture, but by checks: for every block, at the
greatest length of a prompt so far, a replay must agree with the full sequence in value and in the derivative along one
random direction (``coupling.models.locality``).
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coupling.errors import CouplingError, one_line, renamed
from coupling.linalg.jacobian import REPLAYS, BlockJacobian, Replay
from coupling.models import attention
from coupling.models.attention_replay import attending
from coupling.models.blocks import find_blocks, is_prompt_learning
from coupling.models.calls import BlockCall
from coupling.models.forward import Pass, not_finite, run_twice
from coupling.models.heads import Heads, find_heads
from coupling.models.linear_calls import linear_layers, observing
from coupling.models.locality import LONGEST_CHECK, Locality, close, verify
from coupling.models.recurrence import RecordedKeys
from coupling.models.replay import Place, entered, replayed
from coupling.models.tail import NO_TAIL, Cut, Tail, cutting, find_tail
from coupling.numerics import exact_numerics

_localities: WeakKeyDictionary[nn.Module, WeakKeyDictionary[nn.Module, Locality]] = WeakKeyDictionary()
"""What is known of each model, by the first of its blocks: the halves of an encoder-decoder model are two lists."""


@dataclass(frozen=True)
class Recording:
    """One prompt's pass through a model: the trajectory, and everything that is needed to replay a block.

    Attributes:
        model: the model.
        trajectory: the residual stream, layer 0 (what enters the first block) to L; (L + 1, n, d).
        calls: how the model called each block.
        numbers: the number of each block: its place in the model's list.
        tape: what each attention module saw.
        locality: which blocks may be replayed on single tokens.
        n_virtual: learned tokens that the model puts in front of the prompt (PEFT's prompt tuning).
    """

    model: nn.Module
    trajectory: Float[Tensor, "layers n d"]
    calls: list[BlockCall]
    numbers: list[int]
    tape: attention.Tape
    locality: Locality
    n_virtual: int = 0

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return len(self.calls)

    @property
    def n_tokens(self) -> int:
        """n, the number of tokens, learned ones included."""
        return self.trajectory.shape[1]

    @property
    def width(self) -> int:
        """d, the size of the residual stream."""
        return self.trajectory.shape[2]

    @property
    def token_local(self) -> bool:
        """Whether every block can be replayed on one token alone."""
        return all(self.is_local(block) for block in range(self.n_blocks))

    def is_local(self, block: int) -> bool:
        """Whether a block can be replayed on one token alone."""
        return self.replays(block)[0] in REPLAYS[:2]

    def replays(self, block: int) -> list[Replay]:
        """How a block can be replayed at its last token, the fastest first."""
        right = self.locality.right.get(block, [])
        return [*(replay for replay in right if self.possible(block, replay)), "full-sequence"]

    def possible(self, block: int, replay: Replay) -> bool:
        """Whether a replay can be tried on a block."""
        if (block, replay) in self.locality.failed:
            return False
        if replay == "token-local":
            return self._place(block).is_recorded
        return replay != "recorded-state" or (self.n_tokens > 1 and self.calls[block].memory_name is not None)

    @exact_numerics()
    def jacobian(self, block: int, token: int, output_token: int | None = None) -> BlockJacobian:
        """The Jacobian of a block's output at one token with respect to its input at another (default: the same).

        Args:
            block: index of the block, 0 to L - 1.
            token: the input token s, 0 to n - 1.
            output_token: the output token t.

        Raises:
            CouplingError: if an index is out of range, or the replayed block does not reproduce its output inside the
                model.
        """
        target = token if output_token is None else output_token
        bounds = (("block", block, self.n_blocks), ("token", token, self.n_tokens), ("token", target, self.n_tokens))
        for what, index, size in bounds:
            if not 0 <= index < size:
                raise CouplingError(f"{what} {index} is out of range: there are {size}, 0 to {size - 1}")
        expected = self._update(block, token, target)
        for replay, tail, heads in self._tries(block, token, target):
            try:
                jacobian = self._jacobian(block, token, target, replay, tail, heads)
            except Exception as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                if heads:
                    continue  # nothing is noted: which token is asked for first must not change the others
                if tail.last:
                    self.locality.tails[block] = NO_TAIL
                elif replay == "full-sequence":
                    raise CouplingError(f"block {block} cannot be differentiated: {one_line(error)}") from error
                else:
                    self.locality.failed.add((block, replay))
                continue
            if close(jacobian.value, expected, self.trajectory[block + 1, target]):
                jacobian.replay = replay
                return jacobian
        raise CouplingError(
            f"block {block}, called alone, does not reproduce its output inside the model: it is random, or depends on "
            "more than its arguments"
        )

    def _tries(self, block: int, token: int, target: int) -> list[tuple[Replay, Tail, Heads | None]]:
        """The replays of a block that may serve for two tokens; those on one token first with the graph cut."""
        tries: list[tuple[Replay, Tail, Heads | None]] = []
        tail = self.locality.tails.get(block, NO_TAIL)
        heads = self.locality.heads.get(block) if token == target else None
        replays = self.replays(block)
        for replay in replays:
            if replay == "recorded-state" and (token != target or token == 0):
                continue
            if replay == "recorded-state" and token < self.n_tokens - 1 and "prefix" not in replays:
                continue  # later tokens may matter
            if replay in REPLAYS[:2] and heads:
                tries.append((replay, tail, heads))
            if replay in REPLAYS[:2] and tail.last:
                tries.append((replay, tail, None))
            tries.append((replay, NO_TAIL, None))
        return tries

    def _update(self, block: int, token: int, target: int) -> Float[Tensor, "d"]:
        """f(X)_t inside the model; the skip connection is taken out where input and output token agree."""
        output = self.trajectory[block + 1, target]
        return output - self.trajectory[block, token] if token == target else output

    def _jacobian(
        self,
        block: int,
        token: int,
        target: int,
        replay: Replay | None = None,
        tail: Tail = NO_TAIL,
        heads: Heads | None = None,
        *,
        local: bool = False,
    ) -> BlockJacobian:
        """By the given replay; else by the fastest one if ``local``, or by the full sequence."""
        replay = replay or (self.replays(block)[0] if local else "full-sequence")
        again = replayed(self._place(block), token, target, replay)
        cut, point = Cut(tail, rows=[again.read], heads=heads), self.trajectory[block, token]
        with entered([*again.contexts, cutting(cut)]):
            return BlockJacobian(again.function, point, tokens=again.n_tokens, ends=cut.ends, joint=cut.joint)

    def product(self, block: int, token: int, u: Float[Tensor, "d"], replay: Replay) -> tuple[Tensor, Tensor]:
        """The update f(X)_t of a token, and ``J^T u`` at it.

        Args:
            block: index of the block.
            token: the token t.
            u: an output direction.
            replay: how the block is replayed.
        """
        is_local = replay in REPLAYS[:2]
        again = replayed(self._place(block), token, token, replay)
        layers = linear_layers(self.calls[block].block) if is_local else []
        with torch.enable_grad(), entered(again.contexts), observing(layers) as calls, attending() as attendings:
            x = self.trajectory[block, token].detach().clone().requires_grad_()
            value = again.function(x)
            (pulled,) = torch.autograd.grad(value, x, u, retain_graph=is_local)
        if is_local:
            tail = self.locality.tails[block] = find_tail(calls, value, row=0)
            self.locality.heads.pop(block, None)
            heads = find_heads(calls, attendings, x)
            if heads is not None and not any(layer in tail.layers for layer in heads.layers):
                self.locality.heads[block] = heads
        return value.detach(), pulled

    def own_value(self, block: int) -> Float[Tensor, "d"]:
        """The update of the last token by the attention that the model was loaded with, without derivatives."""
        with torch.no_grad(), attention.implementation(self.model, None):
            output = self.calls[block](self.trajectory[block][None])
        return output[0, -1] - self.trajectory[block, -1]

    def own_value_alone(self, block: int) -> Float[Tensor, "d"] | None:
        """As ``own_value``, computing the last token alone, as when text is generated.

        The keys and values of the tokens before it are those recorded. None where the block takes no cache, or has
        several attention modules.
        """
        call, last = self.calls[block], self.n_tokens - 1
        seen = [attended for (index, _), attended in self.tape.attended.items() if index == block]
        if len(seen) != 1 or call.memory_name is None:
            return None
        call = call.remembering(RecordedKeys(seen[0].key[:, :last], seen[0].value[:, :last]))
        rows = torch.tensor([last], device=self.trajectory.device)
        with torch.no_grad(), attention.implementation(self.model, None):
            output = call.at(self.trajectory[block][None, last:], rows)
        return output[0, -1] - self.trajectory[block, last]

    def _place(self, block: int) -> Place:
        known = self.locality
        return Place(
            self.model, self.calls[block], block, self.trajectory[block], self.tape, known.interface, known.eager
        )


def record(
    model: nn.Module, inputs: dict[str, Any], *, block_list: str | None = None, blocks: str | None = None
) -> Recording:
    """Run a model once on one prompt and record what enters every block.

    Args:
        model: a transformers model; it is put into evaluation mode for the pass, and then restored.
        inputs: keyword arguments of its forward pass, with batch size 1, such as ``{"input_ids": (1, n)}``.
        block_list: name of the list of residual blocks, where it cannot be found.
        blocks: the former name of ``block_list``.

    Raises:
        CouplingError: if the blocks are not a chain of residual blocks, the forward pass fails or draws random numbers
            that change it, or a weight or an activation is not finite.

    Example:
        >>> import torch, transformers, coupling
        >>> model = transformers.GPT2Model(transformers.GPT2Config(n_embd=32, n_head=2, n_layer=3, vocab_size=50))
        >>> recording = coupling.record(model, {"input_ids": torch.arange(8)[None]})
        >>> tuple(recording.trajectory.shape), recording.jacobian(block=1, token=7).shape
        ((4, 8, 32), (32, 32))
    """
    block_list = renamed("blocks", blocks, "block_list", block_list)
    _, modules = find_blocks(model, block_list, inputs)
    return record_blocks(model, modules, inputs)


def locality_of(model: nn.Module, modules: list[nn.Module]) -> Locality:
    """What has been found out about the blocks of a model so far."""
    return _localities.setdefault(model, WeakKeyDictionary()).setdefault(modules[0], Locality())


@exact_numerics()
def record_blocks(model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]) -> Recording:
    """As ``record``, on blocks that have been found already."""
    locality = locality_of(model, modules)
    shorter = _shortened(inputs)
    if shorter is not None and min(locality.verified.values(), default=0) < LONGEST_CHECK:
        record_blocks(model, modules, shorter)
    while True:  # again where a check finds that a block needs the model's own attention; at most once per module
        done, tape = _pass(model, modules, inputs, locality)
        bad = next((i for i, stream in enumerate(done.streams) if not torch.isfinite(stream).all()), None)
        if bad is not None:
            raise CouplingError(not_finite(modules, bad, done.streams[bad].dtype))
        ids = inputs.get("input_ids")
        n_virtual = 0
        if is_prompt_learning(model) and isinstance(ids, Tensor):
            n_virtual = done.streams[0].shape[1] - ids.shape[1]
        recording = Recording(model, torch.cat(done.streams), done.calls, done.numbers, tape, locality, n_virtual)
        if verify(recording, checked_shorter=shorter is not None):
            return recording


def _shortened(inputs: dict[str, Any]) -> dict[str, Any] | None:
    """The first tokens of a prompt that is too long for the comparison of derivatives; None for any other input."""
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.shape[1] <= LONGEST_CHECK:
        return None
    if not all(isinstance(value, Tensor) and value.shape == ids.shape for value in inputs.values()):
        return None
    return {name: value[:, :LONGEST_CHECK] for name, value in inputs.items()}


def _pass(
    model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], locality: Locality
) -> tuple[Pass, attention.Tape]:
    """One forward pass by the recording attention, or by the model's own where that does not serve."""
    if locality.interface:
        tape = attention.Tape(own=locality.own)
        try:
            done = run_twice(model, modules, inputs, attention.NAME, tape)
        except CouplingError as error:
            if error.__cause__ is None or isinstance(error.__cause__, IndexError):
                raise  # the model's own attention would not help
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, attention.UnknownAttentionError):
            pass  # an attention call of an unknown form
        else:
            if tape.attended or tape.foreign:
                return done, tape
        locality.interface = False
    tape = attention.Tape()
    return run_twice(model, modules, inputs, None, tape), tape
