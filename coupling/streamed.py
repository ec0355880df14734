"""Measure a model that is larger than the memory: its blocks are read one at a time, all prompts pass through each.

In the first pass the Jacobians of every block are factored. A comparison needs the frames of all blocks before the
products, so where Jacobians of different blocks are compared, a second pass makes them again and multiplies them. Each
block is thus read at most twice. What a prompt needs later is saved after each block (``coupling.stream_store``), and
a start that resumes the run gives the model the saved results in place of the blocks before.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import xarray as xr
from torch import Tensor, nn

from coupling.batches import Batches
from coupling.detail import DetailBudget
from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning
from coupling.models.forward import numbers_of
from coupling.models.inputs import Input
from coupling.models.locality import noted, recall, verify
from coupling.models.offloading import Offloaded
from coupling.models.streaming import RUN, Passed, Stop
from coupling.numerics import exact_numerics
from coupling.resources import DEFAULT_RESOURCES, Resources
from coupling.settings import Settings
from coupling.stream_store import RecordKind, StreamStore
from coupling.streamed_learning import AgainError, BeginError, Learner
from coupling.streamed_prompt import StreamedPrompt
from coupling.streamed_together import Naming, Waiting, factor_together, multiply_together

Progress = Callable[[int, int, int, int], None]
"""Called with (blocks done, blocks in total over both passes, prompts done at this one, prompts in total)."""


class StreamedMeasurement(Learner):
    """Measures prompts on a model whose blocks are on disk.

    Args:
        model: the model.
        modules: its blocks.
        offloaded: brings blocks into memory.
        settings: what is measured.
        inputs: the prompts or images, by their numbers in the run.
        store: what is measured is kept there; what it contains already is not measured again.
        naming: see ``Naming``.
        progress: see ``Progress``.
        resources: the memory that may be used.
        batches: which prompts are measured together, by the width of the stream; default: each alone.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: list[nn.Module],
        offloaded: Offloaded,
        settings: Settings,
        inputs: Mapping[int, Input],
        store: StreamStore,
        naming: Naming,
        progress: Progress | None = None,
        resources: Resources = DEFAULT_RESOURCES,
        batches: Callable[[int], Batches] | None = None,
    ) -> None:
        super().__init__(model, modules, offloaded)
        self.resources, self.batches = resources, batches
        self.settings, self.inputs, self.store = settings, inputs, store
        self.naming, self.progress = naming, progress
        self.prompts: list[StreamedPrompt] = []
        self._order: list[nn.Module] = []
        self._warned = False
        self._steps = 0

    @exact_numerics()
    def run(self) -> None:
        """Pass all prompts through all blocks, once or twice.

        Raises:
            CouplingError: if the model or a prompt cannot be measured, a weight cannot be read, or the disk is full.
        """
        for _ in range(len(self.modules) + 4):  # each time something more is known of the model
            self.prompts = [StreamedPrompt(n, one, self.settings, self.store) for n, one in self.inputs.items()]
            self._steps, self._order = 0, []
            try:
                if self.must_probe:
                    self.probe(next(iter(self.inputs.values())).arguments())
                self._pass_all(self._first)
                if any(prompt.later_rows(block) for prompt in self.prompts for block in prompt.positions):
                    self._pass_all(self._second)
                return
            except AgainError:
                self.store.clear()
            except BeginError:
                pass
        raise CouplingError("the prompts do not pass through the same blocks, so they cannot be streamed")

    def dataset(self, number: int, budget: DetailBudget) -> xr.Dataset:
        """The Dataset of a prompt, after ``run``."""
        prompt = next(prompt for prompt in self.prompts if prompt.number == number)
        with self.naming(number):
            return prompt.dataset(budget)

    # The passes

    def _pass_all(self, advance: Callable[[list[StreamedPrompt]], None]) -> None:
        is_first = advance == self._first
        with ExitStack() as stack:
            stack.callback(self._end)
            stack.enter_context(self.stopping())
            for prompt in self.prompts:
                with self.naming(prompt.number), self.learning():
                    prompt.start(self.model, self.modules, self.locality)
            while waiting := [prompt for prompt in self.prompts if _stop_of(prompt) is not None]:
                first = _stop_of(waiting[0])
                assert first is not None
                group = [prompt for prompt in waiting if _stop_of(prompt).module is first.module]  # type: ignore[union-attr]
                if not is_first and not any(self._is_left(prompt, first.position) for prompt in group):
                    return
                if is_first and first.position == len(self._order):
                    self._order.append(first.module)
                batches = self._batches_of(group, first)
                if any(self._is_needed(prompt, first.position, is_first=is_first) for prompt in group):
                    self.offloaded.load(first.module)
                    self._prefetch(first.position + 1, first.module, is_first=is_first)
                done = 0
                for batch in batches:
                    self._report(done)
                    advance(batch)
                    done += len(batch)
                self._steps += first.block is not None
                self._report(0)
            if is_first:
                self._check_numbers()

    def _batches_of(self, group: list[StreamedPrompt], stop: Stop) -> list[list[StreamedPrompt]]:
        """The prompts that wait at a block, those together that are measured together."""
        if self.batches is None or stop.stream is None:
            return [[prompt] for prompt in group]
        planned = self.batches(stop.stream.shape[-1])
        found: dict[tuple[int, ...], list[StreamedPrompt]] = {}
        for prompt in group:
            members = planned.of(prompt.number)
            prompt.batch = len(members)
            found.setdefault(tuple(members), []).append(prompt)
        return list(found.values())

    def _first(self, batch: list[StreamedPrompt]) -> None:
        """The first pass, at one block: factor its Jacobians."""
        waiting: list[Waiting] = []
        at = _stop_of(batch[0])
        assert at is not None
        kind: RecordKind = "result" if at.block is None else "factors"
        is_done = [prompt.has(kind, at.position) for prompt in batch]
        for prompt, is_saved in zip(batch, is_done, strict=True):
            with self.naming(prompt.number):
                stop = _stop_of(prompt)
                assert stop is not None
                if stop.block is not None:
                    prompt.resolve(stop, self.numbers)
                    if self.store.has("factors", stop.position, prompt.number):
                        self._recall("factors", prompt, stop)
                if is_saved and (all(is_done) or stop.block is None):
                    self._repeat(prompt, stop)
                    continue
                if stop.block is not None:
                    self.verify(prompt, stop)
                passed = self._proceed(prompt)
                prompt.keep_result(stop, passed)
                if stop.block is not None:
                    recording = self._recording(prompt, stop, passed.output)
                    self.check_attended(prompt)
                    if not verify(recording):
                        raise AgainError
                    waiting.append((prompt, prompt.factory(recording, self.resources), is_saved))
        if waiting:
            assert at.block is not None
            self.resources = factor_together(waiting, at.block, self._noted(at.block), self.naming)
            for prompt, _, _ in waiting:
                _forget(prompt)

    def _second(self, batch: list[StreamedPrompt]) -> None:
        """The second pass, at one block: multiply its Jacobians with the frames of later blocks."""
        at = _stop_of(batch[0])
        assert at is not None
        is_wanted = at.block is not None and bool(batch[0].later_rows(at.block))
        is_done = [not is_wanted or prompt.has("rows", at.position) for prompt in batch]
        waiting: list[Waiting] = []
        for prompt, is_saved in zip(batch, is_done, strict=True):
            with self.naming(prompt.number):
                stop = _stop_of(prompt)
                assert stop is not None
                if stop.block is not None and self.store.has("rows", stop.position, prompt.number):
                    self._recall("rows", prompt, stop)
                if all(is_done):
                    self._repeat(prompt, stop)
                    continue
                recording = self._recording(prompt, stop, self._proceed(prompt).output)
                waiting.append((prompt, prompt.factory(recording, self.resources), is_saved))
        if waiting:
            assert at.block is not None
            multiply_together(waiting, at.block, self._noted(at.block), self.naming)
            for prompt, _, _ in waiting:
                _forget(prompt)

    def _proceed(self, prompt: StreamedPrompt, answer: Any = RUN) -> Passed:
        assert prompt.walk is not None
        with self.learning():
            return prompt.walk.proceed(answer)

    def _repeat(self, prompt: StreamedPrompt, stop: Stop) -> None:
        """Go through a block of which nothing more is needed: by its saved result, where that can stand for it."""
        try:
            answer = prompt.result(stop.position)
        except KeyError:
            answer = RUN
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"what {type(stop.module).__name__} returns cannot be saved in place of it, so the forward pass is "
                    "repeated; what was measured of it is kept",
                    PromptWarning,
                    stacklevel=2,
                )
        self._proceed(prompt, answer)
        _forget(prompt)

    def _is_needed(self, prompt: StreamedPrompt, position: int, *, is_first: bool) -> bool:
        """Whether a prompt needs the weights of the block at a position."""
        block = next((block for block, at in prompt.positions.items() if at == position), None)
        if not prompt.has("result", position):
            return True
        if is_first:
            is_measured = self._order[position] in self.modules if position < len(self._order) else True
            if is_measured and not prompt.has("factors", position):
                return True
        elif block is not None and prompt.later_rows(block) and not prompt.has("rows", position):
            return True
        return not self.store.get("result", position, prompt.number)[0]["stands_for_block"]

    def _is_left(self, prompt: StreamedPrompt, position: int) -> bool:
        """Whether a prompt has something to do at a position or after it, in the second pass."""
        return any(at >= position and prompt.later_rows(block) for block, at in prompt.positions.items())

    def _prefetch(self, position: int, module: nn.Module, *, is_first: bool) -> None:
        """Begin to read what will be needed next, as far as it can be foreseen."""
        if position < len(self._order):
            following = self._order[position]
        else:
            at = self.offloaded.modules.index(module) + 1
            if at == len(self.offloaded.modules) or len(self.modules) == 1:
                return
            following = self.offloaded.modules[at]
        if not is_first and not any(self._is_left(prompt, position) for prompt in self.prompts):
            return
        if any(self._is_needed(prompt, position, is_first=is_first) for prompt in self.prompts):
            self.offloaded.prefetch(following)

    def _end(self) -> None:
        for prompt in self.prompts:
            if prompt.walk is not None:
                prompt.walk.close()
            prompt.walk = None
        self.offloaded.release()

    def _check_numbers(self) -> None:
        """Check that the blocks that were called are those that the plans were made for."""
        for prompt in self.prompts:
            called = [self._order[at] for _, at in sorted(prompt.positions.items())]
            numbers = numbers_of(self.modules, called)
            if numbers != self.numbers:
                self.numbers = numbers
                raise AgainError

    def _recording(self, prompt: StreamedPrompt, stop: Stop, output: Tensor | None) -> Any:
        assert output is not None
        self.check_finite(stop, output)
        return prompt.recording(self.model, stop, output, self.numbers, self.locality)

    def _noted(self, block: int) -> dict[str, Any]:
        """What is known of a block, and of the model: it is saved, so that a resumed run knows it."""
        return noted(self.locality, self.model, block) | {"numbers": self.numbers}

    def _recall(self, kind: RecordKind, prompt: StreamedPrompt, stop: Stop) -> None:
        """Know again what was known when a record was written."""
        assert stop.block is not None
        content, _ = self.store.get(kind, stop.position, prompt.number)
        known = content["noted"]
        if known["numbers"] != self.numbers or known["interface"] != self.locality.interface:
            self.numbers, self.locality.interface = known["numbers"], known["interface"]
            raise BeginError  # the records are of passes that began with this knowledge
        self.probed, self.must_probe = True, False
        recall(known, self.locality, self.model, stop.block)

    def _report(self, done: int) -> None:
        if self.progress is not None:
            known = next((prompt for prompt in self.prompts if prompt.plan is not None), None)
            again = sum(bool(known.later_rows(block)) for block in range(len(self.numbers))) if known else 0
            total = max(len(self.numbers) + again, self._steps + (done > 0))
            self.progress(self._steps, total, done, len(self.prompts))


def _stop_of(prompt: StreamedPrompt) -> Stop | None:
    return None if prompt.walk is None else prompt.walk.stop


def _forget(prompt: StreamedPrompt) -> None:
    """Drop what attention modules saw in a block that has been measured."""
    if prompt.walk is not None:
        prompt.walk.tape.attended.clear()
        prompt.walk.tape.foreign.clear()
