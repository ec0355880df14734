"""Measure the inputs of one command on a loaded checkpoint, and save them: in memory, or block by block from disk."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from coupling.baselines import Baselines
from coupling.batches import Batches
from coupling.detail import DetailBudget
from coupling.errors import CouplingError
from coupling.files import environment
from coupling.joining import join_prompts
from coupling.measured_inputs import MeasuredInputs
from coupling.measurement import BATCH
from coupling.models.blocks import find_blocks
from coupling.models.checkpoint import Checkpoint
from coupling.models.inputs import TextInput
from coupling.models.sources import Inputs
from coupling.models.timm_attention import is_timm
from coupling.resources import DEFAULT_RESOURCES, Resources
from coupling.run_folder import RunFolder, open_run
from coupling.settings import Settings
from coupling.stream_store import StreamStore, temporary_store
from coupling.streamed import StreamedMeasurement
from coupling.untrusted import clean

Progress = Callable[[int, int, int, int], None]
"""Called with (prompt, number of prompts, Jacobians done, Jacobians in total of this prompt).

In a streamed run with (block, number of blocks over all passes, prompts done at this block, number of prompts); where
the function has an attribute ``over_blocks``, this is called in its place."""


class Session:
    """Measures the inputs of one command, except those that an earlier start of the command has measured."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: Settings,
        inputs: Inputs,
        progress: Progress | None,
        *,
        baselines: bool = False,
        resources: Resources = DEFAULT_RESOURCES,
    ) -> None:
        self.checkpoint, self.settings, self.inputs, self.progress = checkpoint, settings, inputs, progress
        self.resources = resources
        _, self.modules = find_blocks(checkpoint.model, checkpoint.block_list)
        self.baselines = Baselines(checkpoint, self.modules) if baselines else None
        self.load_seconds = 0.0
        self.seconds: list[float | None] = []
        self.streamed: StreamedMeasurement | None = None
        self._planned: Batches | None = None

    def run(
        self,
        origin: dict[str, Any],
        source: str,
        place: Path | None,
        options: dict[str, Any],
        *,
        overwrite: bool,
        resume: bool,
    ) -> xr.Dataset:
        """The run, saved in a folder where one is given.

        Args:
            origin: the attributes that say what was measured and how; they identify the run.
            source: where the prompts or images are from.
            place: the folder.
            options: what else identifies the run.
            overwrite: see ``analyze``.
            resume: see ``analyze``.
        """
        budget = DetailBudget(options["detail"])
        hashes = self.inputs.hashes
        attributes = (
            origin
            | {
                "prompts": source,
                "prompts_hash": self.inputs.digest,
                "inputs_hash": hashlib.sha256("".join(hashes).encode()).hexdigest(),
            }
            | ({} if self.baselines is None else self.baselines.attributes)
        )
        if place is None:
            return self._joined(None, budget, attributes)
        packages = ["torch", "transformers", *(["timm"] if is_timm(self.checkpoint.model) else [])]
        versions = {f"{name} version": version for name, version in environment(*packages).items()}
        identity = self.settings.as_dict() | origin | options | versions
        folder = RunFolder(place, identity, hashes, overwrite=overwrite, resume=resume)
        if folder.finished:
            return open_run(place)
        try:
            run = self._joined(folder, budget, attributes)
            folder.finish(run, self._summary(run, source))
        finally:
            folder.leave()
        return run

    def _joined(self, folder: RunFolder | None, budget: DetailBudget, attributes: dict[str, Any]) -> xr.Dataset:
        run = join_prompts(self._parts(folder, budget))
        run.attrs |= attributes
        return run

    def _parts(self, folder: RunFolder | None, budget: DetailBudget) -> Iterator[xr.Dataset]:
        """Each input's Dataset: measured now and saved, or saved earlier."""
        with ExitStack() as stack:
            if self.checkpoint.offloaded is not None:
                self._stream(folder, stack)
            yield from self._each(folder, budget)

    def _stream(self, folder: RunFolder | None, stack: ExitStack) -> None:
        """Pass all inputs that have not been measured through the blocks, which are on disk."""
        offloaded = self.checkpoint.offloaded
        assert offloaded is not None
        stack.callback(offloaded.close)
        left = {index: one for index, one in enumerate(self.inputs.items) if self._streamed_part(folder, index) is None}
        hashes = dict(enumerate(self.inputs.hashes))
        if folder is None:
            store = temporary_store(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coupling-"))), hashes)
        else:
            store = StreamStore(folder.streamed, hashes)
        self.streamed = StreamedMeasurement(
            self.checkpoint.model,
            self.modules,
            offloaded,
            self.settings,
            left,
            store,
            self._naming,
            getattr(self.progress, "over_blocks", self.progress),
            self.resources,
            self._batches,
        )
        if left:
            self.streamed.run()

    def _batches(self, width: int) -> Batches:
        """Which inputs are measured together."""
        if self._planned is None:
            texts = [one.arguments() if isinstance(one, TextInput) else None for one in self.inputs.items]
            self._planned = Batches.of_texts(texts, width, len(self.modules), self.resources)
        return self._planned

    def _streamed_part(self, folder: RunFolder | None, index: int) -> xr.Dataset | None:
        """What an earlier start measured of an input, together with as many others as it is measured with now."""
        part = None if folder is None else folder.part(index)
        if part is None:
            return None
        batch = int(part[BATCH]) if BATCH in part else 1
        return part if batch == len(self._batches(int(part.attrs["width"])).of(index)) else None

    def _each(self, folder: RunFolder | None, budget: DetailBudget) -> Iterator[xr.Dataset]:
        items = self.inputs.items
        if self.streamed is not None:
            yield from self._each_streamed(folder, budget)
            return

        def finish(index: int, part: xr.Dataset, arguments: dict[str, Any]) -> None:
            items[index].describe(part, arguments, self.settings)
            if self.baselines is not None:
                self.baselines.add(part, arguments)

        measured = MeasuredInputs(
            self.checkpoint.model,
            self.modules,
            self.settings,
            self.resources,
            budget,
            [one.arguments() if isinstance(one, TextInput) else None for one in items],
            lambda index: items[index].arguments(),
            lambda index, arguments, recording: items[index].settings(self.settings, arguments, recording.n_tokens),
            finish,
            naming=self._naming,
            progress=self.progress,
            baselines=self.baselines is not None,
        )
        if folder is not None:
            measured.saved, measured.keep = folder.part, folder.keep
        try:
            yield from measured
        finally:
            self.seconds = measured.seconds

    def _each_streamed(self, folder: RunFolder | None, budget: DetailBudget) -> Iterator[xr.Dataset]:
        assert self.streamed is not None
        for index in range(len(self.inputs.items)):
            part = self._streamed_part(folder, index) if index not in self.streamed.inputs else None
            if part is not None:
                self.seconds.append(None)
                budget.count(part)
                if self.progress is not None:
                    self.progress(index, len(self.inputs.items), 1, 1)
            else:
                before = time.perf_counter()
                part = self.streamed.dataset(index, budget)
                self.seconds.append(time.perf_counter() - before)
                if folder is not None:
                    folder.keep(index, part)
            yield part

    @contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """A context whose errors name an input."""
        try:
            yield
        except CouplingError as error:
            name = clean(self.inputs.items[index].name, 200)
            which = f"image {index} ({name})" if self.checkpoint.processor else f"prompt {index}"
            raise CouplingError(f"{which}: {error}") from None

    def _summary(self, run: xr.Dataset, source: str) -> dict[str, Any]:
        """What ``run.json`` says; the seconds are None for inputs that were measured earlier."""
        measured = [second for second in self.seconds if second is not None]
        return {
            "settings": self.settings.as_dict(),
            "provenance": run.attrs,
            "prompts": {"source": source, "count": len(self.inputs.items)},
            "timings": {
                "load_seconds": round(self.load_seconds, 3),
                "measure_seconds": round(sum(measured), 3),
                "prompt_seconds": [None if second is None else round(second, 3) for second in self.seconds],
            },
            "environment": environment("torch", "transformers", "numpy", "scipy", "xarray"),
        }
