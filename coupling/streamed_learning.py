"""What a streamed measurement has to find out about a model before it can measure a block.

In memory this is found out after a whole pass, and the pass is then repeated. Here a block is looked at before the
prompts pass it; only where something is learned of the model as a whole do the passes begin again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from coupling.errors import CouplingError
from coupling.models import attention
from coupling.models.forward import not_finite, numbers_of
from coupling.models.locality import verify
from coupling.models.offloading import Offloaded
from coupling.models.recording import locality_of
from coupling.models.streaming import PromptPass, Stop, stopping
from coupling.streamed_prompt import StreamedPrompt


class BeginError(Exception):
    """Something is known of the model that the passes did not begin with."""


class AgainError(BeginError):
    """Something was learned of the model that changes what blocks return, so that what was measured is of no use."""


class Learner:
    """Knows of a model which attention it needs, which blocks it calls, and which may be replayed on one token.

    Args:
        model: the model.
        modules: its blocks.
        offloaded: brings blocks into memory.

    Attributes:
        locality: what the checks have found out.
        numbers: the numbers of the blocks, as they are called.
        probed: whether the recording attention is known to be called.
        must_probe: whether ``probe`` has to come before the passes.
    """

    def __init__(self, model: nn.Module, modules: list[nn.Module], offloaded: Offloaded) -> None:
        self.model, self.modules, self.offloaded = model, modules, offloaded
        self.locality = locality_of(model, modules)
        self.numbers = list(range(len(modules)))
        depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)  # type: ignore[operator,union-attr]
        self.probed, self.must_probe = False, depth != len(modules)

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """A context in which passes wait before every block, with the attention that the model needs."""
        name = attention.NAME if self.locality.interface else None
        with attention.implementation(self.model, name), stopping(self.offloaded.modules):
            yield

    @contextmanager
    def learning(self) -> Iterator[None]:
        """A context in which a pass that fails in the recording attention shows that the model needs its own."""
        try:
            yield
        except CouplingError as error:
            if not self.locality.interface or not isinstance(error.__cause__, RuntimeError):
                raise
        except (TypeError, ValueError, KeyError, AttributeError, attention.UnknownAttentionError):
            if not self.locality.interface:
                raise
        else:
            return
        self.locality.interface = False
        raise AgainError

    def probe(self, arguments: dict[str, Any]) -> None:
        """One prompt through all blocks, unmeasured: which are called, and whether the recording attention is."""
        tape = attention.Tape(own=self.locality.own)
        walk = None
        try:
            with self.stopping(), self.learning():
                walk = PromptPass(self.model, self.modules, arguments, tape)
                walk.start()
                while walk.stop is not None:
                    self.offloaded.load(walk.stop.module)
                    walk.proceed()
                self.numbers = numbers_of(self.modules, walk.blocks)
        finally:
            if walk is not None:
                walk.close()
        self.probed, self.must_probe = True, False
        if self.locality.interface and not (tape.attended or tape.foreign):
            self.locality.interface = False

    def check_attended(self, prompt: StreamedPrompt) -> None:
        """After the first block: where no attention was recorded in it, others are looked at before it is measured."""
        assert prompt.walk is not None
        if not self.probed and not (prompt.walk.tape.attended or prompt.walk.tape.foreign) and self.locality.interface:
            self.must_probe = True
            raise AgainError
        self.probed = True

    def check_finite(self, stop: Stop, output: Tensor) -> None:
        """Check that what enters a block and what leaves it is finite.

        Raises:
            CouplingError: if it is not.
        """
        assert stop.block is not None
        assert stop.stream is not None
        for layer, stream in ((stop.block, stop.stream), (stop.block + 1, output)):
            if not torch.isfinite(stream).all():
                raise CouplingError(not_finite(self.modules, layer, stream.dtype))

    def verify(self, prompt: StreamedPrompt, stop: Stop) -> None:
        """Find out, before a block is passed, which attention it needs and whether it may be replayed on one token."""
        assert stop.block is not None
        assert stop.stream is not None
        assert stop.call is not None
        locality = self.locality
        while locality.interface and locality.verified.get(stop.block, 0) < stop.stream.shape[1]:
            tape = attention.Tape(own=locality.own, block=stop.block)
            try:
                with torch.no_grad(), attention.recording(tape):
                    output = stop.call(stop.stream.clone())
            except Exception as error:  # a block that needs what its call does not contain: it is verified afterwards
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                return
            recording = prompt.recording(self.model, stop, output, self.numbers, locality, tape)
            self.check_finite(stop, output)
            if not verify(recording) and not locality.interface:
                raise AgainError
