"""Forward passes that wait before every block, so that all prompts pass through one block before the next is read.

The model's own code runs each prompt from its embeddings to its end, whatever it does between the blocks. Each pass is
a greenlet: it is suspended where the model calls a block, and goes on when that block is in memory. Or it is given
what the block returned in an earlier pass, and then the block is not needed.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]
from jaxtyping import Float
from torch import Tensor, nn

from coupling.errors import CouplingError
from coupling.models import attention
from coupling.models.block_results import arguments_state
from coupling.models.blocks import BlocksError, other_lists
from coupling.models.calls import BlockCall
from coupling.models.forward import batch_of, check_chain, failure, is_ours, prepared


class _Run:
    """The answer to a waiting pass that the block is to be computed."""


RUN = _Run()


@dataclass(frozen=True)
class Stop:
    """A block that a pass is about to enter.

    Attributes:
        position: the number of the call, among those of all blocks that are streamed.
        module: the block.
        block: the number of the call among those of the blocks that are measured; None for another block.
        call: how the model calls a block that is measured.
        stream: what enters it, (1, n, d).
    """

    position: int
    module: nn.Module
    block: int | None = None
    call: BlockCall | None = None
    stream: Float[Tensor, "1 n d"] | None = None


@dataclass(frozen=True)
class Passed:
    """What a block did in a pass.

    Attributes:
        result: what it returned.
        output: the residual stream in it, (1, n, d); None for a block that is not measured.
        changed_arguments: whether it changed its arguments, or was given something that could have been changed, so
            that its result alone does not say what it did.
    """

    result: Any
    output: Float[Tensor, "1 n d"] | None
    changed_arguments: bool


class PromptPass:
    """One prompt's forward pass. It is made and moved inside of ``stopping``.

    Args:
        model: a transformers model.
        modules: the blocks that are measured.
        inputs: keyword arguments of its forward pass, with batch size 1.
        tape: what attention modules see is written to it.

    Attributes:
        stop: where the pass waits; None at its end.
        blocks: the measured blocks that it has entered.
        tape: see above.
    """

    def __init__(self, model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], tape: attention.Tape):
        self.model, self.modules, self.tape = model, modules, tape
        self.stop: Stop | None = None
        self.blocks: list[nn.Module] = []
        self._measured = set(modules)
        self._count = 0
        self._inside = False
        self._passed: Passed | None = None
        self._before: tuple[Tensor, Tensor] | None = None
        self._given = 1
        self._inputs = inputs
        self._greenlet = greenlet(self._run)
        _passes[self._greenlet] = self

    def start(self) -> None:
        """Go to the first block.

        Raises:
            CouplingError: see ``proceed``.
        """
        self._go()

    def proceed(self, answer: Any = RUN) -> Passed:
        """Go through the block where the pass waits, to the next one or to the end.

        Args:
            answer: what the block returned in an earlier pass; by default it is computed.

        Raises:
            CouplingError: if the pass fails, draws random numbers, or the blocks are not a chain.
        """
        stop = self.stop
        assert stop is not None
        self._go(answer)
        passed, self._passed = self._passed, None
        if passed is None:
            raise BlocksError(f"{type(stop.module).__name__} was called and did not return")
        if stop.block is not None:
            self._check(stop, passed)
        return passed

    def close(self) -> None:
        """End the pass where it is."""
        if not self._greenlet.dead:
            enabled = torch.is_grad_enabled()
            try:
                self._greenlet.throw()
            finally:
                torch.set_grad_enabled(enabled)
        _passes.pop(self._greenlet, None)
        self.stop = self._before = None

    def enter(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The call of a streamed block, as the model makes it: wait, then compute the block or take its result."""
        if self._inside:
            return forward(*args, **kwargs)
        call = stream = block = None
        if module in self._measured:
            call, stream = BlockCall.of(module, args, kwargs)
            stream, block = stream.detach().clone(), len(self.blocks)  # a block may write into its input
            self.blocks.append(module)
        self.stop = Stop(self._count, module, block, call, stream)
        self._count += 1
        answer = self._wait()
        before = arguments_state((args, kwargs))
        if answer is RUN:
            self._inside, self.tape.block = True, block
            try:
                result = forward(*args, **kwargs)
            finally:
                self._inside, self.tape.block = False, None
        else:
            result = answer
        output = None
        if call is not None and stream is not None:
            call.check_whole(stream, result)
            output = call.stream_of(result).detach().clone()
        changed = before is None or before != arguments_state((args, kwargs))
        self._passed = Passed(result, output, changed)
        return result

    def _run(self, _: object = None) -> None:
        network, keywords = prepared(self.model, self.modules, self._inputs)
        self._given = batch_of(keywords)
        with torch.no_grad(), attention.recording(self.tape):
            network(**keywords)

    def _wait(self) -> Any:
        """Suspend the pass; what the thread had set for it is set again when it goes on."""
        enabled = torch.is_grad_enabled()
        parent = getcurrent().parent
        assert parent is not None
        answer = parent.switch()
        torch.set_grad_enabled(enabled)
        return answer

    def _go(self, answer: Any = None) -> None:
        enabled, drawn = torch.is_grad_enabled(), torch.get_rng_state()
        self.stop = None
        try:
            self._greenlet.switch(answer)
        except BlocksError as error:
            raise BlocksError(f"{error}{other_lists(self.model, self.modules)}") from None
        except (IndexError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise CouplingError(failure(self.model, self.modules, error)) from error
        except Exception as error:  # whatever a model's code raises
            if isinstance(error, CouplingError | attention.UnknownAttentionError) or is_ours(error):
                raise
            raise CouplingError(failure(self.model, self.modules, error)) from error
        finally:
            torch.set_grad_enabled(enabled)
            if self._greenlet.dead:
                _passes.pop(self._greenlet, None)
        if self._greenlet.dead and not self.blocks:
            raise BlocksError(
                f"{len(self.modules)} modules of class {type(self.modules[0]).__name__} were not called in a forward "
                f"pass, so they are not residual blocks of this pass{other_lists(self.model, self.modules)}"
            )
        if not torch.equal(drawn, torch.get_rng_state()):
            torch.set_rng_state(drawn)
            raise CouplingError(
                f"the forward pass of {type(self.model).__name__} draws random numbers, which a streamed run could not "
                "draw again; measure it in memory (`stream=False`)"
            )

    def _check(self, stop: Stop, passed: Passed) -> None:
        """Check that the block was given what the block before it returned."""
        assert stop.stream is not None
        assert stop.block is not None
        assert passed.output is not None
        earlier = [] if self._before is None else [self._before]
        pairs = [*earlier, (stop.stream, passed.output)]
        streams, outputs = [stream for stream, _ in pairs], [output for _, output in pairs]
        try:
            check_chain(self.modules, streams, streams, outputs, self._given, stop.block + 1 - len(pairs))
        except BlocksError as error:
            raise BlocksError(f"{error}{other_lists(self.model, self.modules)}") from None
        self._before = pairs[-1]


_passes: dict[greenlet, PromptPass] = {}
"""The passes that have not ended, by their greenlets."""


@contextmanager
def stopping(modules: list[nn.Module]) -> Iterator[None]:
    """A context in which every ``PromptPass`` waits before each of the modules; other calls of them are as ever."""
    for module in modules:
        module.forward = _waiting(module, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _waiting(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        current = _passes.get(getcurrent())
        return forward(*args, **kwargs) if current is None else current.enter(module, forward, args, kwargs)

    return waiting
