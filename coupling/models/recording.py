r"""One forward pass that records what enters every block; its Recording then gives Jacobians of any block and token.

A Jacobian is computed by one of two paths. The *token-local* path replays the block on the input and the output token
alone, with everything else frozen as recorded. The *full-sequence* path replays the whole prompt with the model's own
attention. Which blocks may take the first is not decided by what is known of an architecture, but by checks: for every
block, at the greatest length of a prompt so far, the value of both paths and their derivative in one random direction
must agree (``coupling.models.locality``). A check costs one full-sequence forward and backward pass of each block.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from coupling.errors import CouplingError, one_line, renamed
from coupling.linalg.jacobian import BlockJacobian
from coupling.models import attention
from coupling.models.blocks import BlockCall, find_blocks, is_prompt_learning
from coupling.models.forward import Pass, not_finite, run
from coupling.models.locality import Locality, close, verify
from coupling.models.tail import NO_TAIL, Cut, Tail, cutting, find_tail, linear_layers, observing
from coupling.numerics import exact_numerics

_localities: WeakKeyDictionary[nn.Module, Locality] = WeakKeyDictionary()


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
        return self.locality.interface and block not in self.tape.foreign and block not in self.locality.full

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
        tail = self.locality.tails.get(block, NO_TAIL)
        ways = [(True, tail), (True, NO_TAIL), (False, NO_TAIL)] if self.is_local(block) else [(False, NO_TAIL)]
        for local, used in ways if tail.last else ways[-2:]:
            try:
                jacobian = self._jacobian(block, token, target, local=local, tail=used)
            except Exception as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                if used.last:
                    self.locality.tails[block] = NO_TAIL
                    continue
                if not local:
                    raise CouplingError(f"block {block} cannot be differentiated: {one_line(error)}") from error
                self.locality.full[block] = f"it cannot be replayed on one token ({type(error).__name__})"
                continue
            if close(jacobian.value, expected, self.trajectory[block + 1, target]):
                jacobian.token_local = local
                return jacobian
        raise CouplingError(
            f"block {block}, called alone, does not reproduce its output inside the model: it is random, or depends on "
            "more than its arguments"
        )

    def _update(self, block: int, token: int, target: int) -> Float[Tensor, "d"]:
        """f(X)_t inside the model; the skip connection is taken out where input and output token agree."""
        output = self.trajectory[block + 1, target]
        return output - self.trajectory[block, token] if token == target else output

    def _jacobian(self, block: int, token: int, target: int, *, local: bool, tail: Tail = NO_TAIL) -> BlockJacobian:
        function, tokens = self._function(block, token, target, local=local)
        cut = Cut(tail, row=sorted({token, target}).index(target))
        with self._replay(block, token, target, local=local), cutting(cut):
            return BlockJacobian(function, self.trajectory[block, token], tokens=tokens, ends=cut.ends)

    def _function(self, block: int, token: int, target: int, *, local: bool) -> tuple[Any, int]:
        """f(X)_t as a function of x_s, and the number of tokens that it computes."""
        call, stream = self.calls[block], self.trajectory[block]
        # Token-local: only the input and the output token are replayed; otherwise the full sequence is.
        kept = sorted({token, target}) if local else list(range(self.n_tokens))
        rows = torch.tensor(kept, device=stream.device)
        moving, read = kept.index(token), kept.index(target)
        frozen = stream[rows]
        position = torch.tensor([moving], device=stream.device)

        def residual_update(x: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
            """f(X)_t as a function of x_s; every other token of X is frozen."""
            replaced = frozen.index_copy(0, position, x[None])
            output = call.at(replaced[None], rows) if local else call(replaced[None])
            return output[0, read] - x if moving == read else output[0, read]

        return residual_update, len(kept)

    def _replay(self, block: int, token: int, target: int, *, local: bool) -> Any:
        """The context in which a block is replayed."""
        stack = ExitStack()
        if local:
            rows = torch.tensor(sorted({token, target}), device=self.trajectory.device)
            stack.enter_context(attention.implementation(self.model, attention.NAME))
            stack.enter_context(attention.replaying(self.tape, block, rows))
        else:
            stack.enter_context(attention.implementation(self.model, "eager" if self.locality.interface else None))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return stack

    def product(self, block: int, u: Float[Tensor, "d"], *, local: bool) -> tuple[Tensor, Tensor]:
        """The update f(X)_t of the last token, and ``J^T u`` at it, by one of the two paths.

        Args:
            block: index of the block.
            u: an output direction.
            local: token-local or full-sequence.
        """
        last = self.n_tokens - 1
        function, _ = self._function(block, last, last, local=local)
        layers = linear_layers(self.calls[block].block) if local else []
        with torch.enable_grad(), self._replay(block, last, last, local=local), observing(layers) as calls:
            x = self.trajectory[block, last].detach().clone().requires_grad_()
            value = function(x)
            (pulled,) = torch.autograd.grad(value, x, u, retain_graph=local)
        if local:
            self.locality.tails[block] = find_tail(calls, value, row=0)
        return value.detach(), pulled


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
    _, modules = find_blocks(model, block_list)
    return record_blocks(model, modules, inputs)


def locality_of(model: nn.Module) -> Locality:
    """What has been found out about a model so far."""
    return _localities.setdefault(model, Locality())


@exact_numerics()
def record_blocks(model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]) -> Recording:
    """As ``record``, on blocks that have been found already."""
    locality = locality_of(model)
    while True:  # again where a check finds that a block needs the model's own attention; at most once per module
        done, tape = _pass(model, modules, inputs, locality)
        bad = next((i for i, stream in enumerate(done.streams) if not torch.isfinite(stream).all()), None)
        if bad is not None:
            raise CouplingError(not_finite(modules, bad, done.streams[bad].dtype))
        ids = inputs.get("input_ids")
        n_virtual = 0
        if is_prompt_learning(model) and isinstance(ids, Tensor):
            n_virtual = done.streams[0].shape[0] - ids.shape[1]
        recording = Recording(model, torch.stack(done.streams), done.calls, done.numbers, tape, locality, n_virtual)
        if verify(recording):
            return recording


def _pass(
    model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], locality: Locality
) -> tuple[Pass, attention.Tape]:
    """One forward pass by the recording attention, or by the model's own where that does not serve."""
    if locality.interface:
        tape = attention.Tape(own=locality.own)
        try:
            done = _deterministic(model, modules, inputs, attention.NAME, tape)
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
    return _deterministic(model, modules, inputs, None, tape), tape


def _deterministic(
    model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], name: str | None, tape: attention.Tape
) -> Pass:
    """A forward pass; where it drew random numbers, a second one must agree.

    Raises:
        CouplingError: if two passes differ.
    """
    before = torch.get_rng_state()
    done = run(model, modules, inputs, name, tape)
    if torch.equal(before, torch.get_rng_state()):
        return done
    again = run(model, modules, inputs, name, attention.Tape(own=tape.own))
    torch.set_rng_state(before)
    if any(a.shape != b.shape or not close(a, b, a) for a, b in zip(done.streams, again.streams, strict=True)):
        raise CouplingError(
            f"the forward pass of {type(model).__name__} draws random numbers, so that two passes differ (as in models "
            "that mask their input at random); no Jacobian of it can be measured"
        )
    return done
