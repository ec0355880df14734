"""Measures the inputs of a model in their order, those of equal length together, and keeps what is measured."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import xarray as xr
from torch import nn

from coupling.batches import Batches, joint_progress
from coupling.choices import DEFAULT_K, DEFAULT_TOL, Detail, Engine, Kind
from coupling.detail import DetailBudget
from coupling.errors import CouplingError, renamed
from coupling.joining import join_prompts
from coupling.measurement import BATCH, measure_recording, measure_together, with_less_memory
from coupling.models.blocks import find_blocks
from coupling.models.inputs import describe_grid, measured_place, with_patches
from coupling.models.patches import PatchGrid
from coupling.models.recording import Recording, record_blocks
from coupling.models.recording_together import record_together
from coupling.models.tokenization import split_inputs
from coupling.provenance import provenance
from coupling.resources import DEFAULT_MEMORY, BatchSize, Resources, is_out_of_memory, parse_bytes
from coupling.settings import Settings, Tokens
from coupling.shares import K, normalize_k

Progress = Callable[[int, int, int, int], None]
"""Called with (input, number of inputs, Jacobians done, Jacobians in total of this input)."""


@dataclass
class MeasuredInputs:
    """The inputs of one command or call, and what is done with each.

    Attributes:
        model: the model.
        modules: its blocks.
        settings: what is measured.
        resources: how many inputs are measured together, and in how much memory.
        budget: decides which inputs keep their detail.
        texts: the arguments of the forward pass of each input; None for one that is only known when it is measured.
        arguments: the arguments of one.
        resolved: the settings of one, by its arguments and its number of tokens.
        finish: adds to the Dataset of one what is not measured from the recording.
        saved: what was measured earlier of one.
        keep: saves the Dataset of one.
        naming: a context whose errors name one.
        progress: see ``Progress``.
        baselines: also measure what coupling is compared with.
        seconds: for each input how long it took; None where it was measured earlier.
    """

    model: nn.Module
    modules: list[nn.Module]
    settings: Settings
    resources: Resources
    budget: DetailBudget
    texts: Sequence[dict[str, Any] | None]
    arguments: Callable[[int], dict[str, Any]]
    resolved: Callable[[int, dict[str, Any], Recording], Settings]
    finish: Callable[[int, xr.Dataset, dict[str, Any]], None]
    saved: Callable[[int], xr.Dataset | None] = lambda index: None
    keep: Callable[[int, xr.Dataset], None] = lambda index, part: None
    naming: Callable[[int], AbstractContextManager[None]] = lambda index: nullcontext()
    progress: Progress | None = None
    baselines: bool = False
    seconds: list[float | None] = field(default_factory=list)

    def __iter__(self) -> Iterator[xr.Dataset]:
        """The Dataset of each input: measured now and kept, or saved earlier."""
        self._planned: Batches | None = None
        self._apart: set[int] = set()
        """Inputs whose batch was refused: they are measured alone, where the one at fault is named."""
        self._are_texts = all(text is not None for text in self.texts)
        self.seconds = [None] * len(self.texts)
        done: dict[int, xr.Dataset] = {}
        for index in range(len(self.texts)):
            if index not in done:
                done |= self._measure(index)
            yield done.pop(index)

    def _measure(self, index: int) -> dict[int, xr.Dataset]:
        """An input, and those that are measured with it and are not saved."""
        part = self._saved(index)
        if part is not None:
            if not self._are_texts:
                self.budget.count(part)
            if self.progress is not None:
                self.progress(index, len(self.texts), 1, 1)
            return {index: part}
        before = time.perf_counter()
        with self.naming(index):
            arguments = self.arguments(index)
            recording = record_blocks(self.model, self.modules, arguments)
        batch = self._batches(recording.width).of(index)
        parts: dict[int, xr.Dataset] = {}
        if len(batch) > 1 and index not in self._apart:
            try:
                parts = self._together(batch, {index: recording}, len(batch))
            except CouplingError:
                self._apart.update(batch)
        if not parts:
            parts = {index: self._alone(index, arguments, recording, len(batch))}
        new = {number: part for number, part in parts.items() if number >= index and self._saved(number) is None}
        seconds = (time.perf_counter() - before) / len(parts)
        for number, part in new.items():
            self.keep(number, part)
            self.seconds[number] = seconds
        return new

    def _alone(self, index: int, arguments: dict[str, Any], recording: Recording, batch: int) -> xr.Dataset:
        with self.naming(index):
            settings = self.resolved(index, arguments, recording)
            part = measure_recording(
                recording,
                settings,
                joint_progress(self.progress, index, len(self.texts), 1),
                self._decided(index, recording) if self._are_texts else self.budget,
                baselines=self.baselines,
                resources=self.resources,
                batch=batch,
            )
            self.finish(index, part, arguments)
        return part

    def _together(self, members: list[int], known: dict[int, Recording], batch: int) -> dict[int, xr.Dataset]:
        """Several inputs; in two halves, with half the memory, where it runs out."""
        try:
            return self._joint(members, known, batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self.resources = with_less_memory(self.resources)
        if len(members) == 1:
            return self._together(members, known, batch)
        half = len(members) // 2
        return self._together(members[:half], known, batch) | self._together(members[half:], known, batch)

    def _joint(self, members: list[int], known: dict[int, Recording], batch: int) -> dict[int, xr.Dataset]:
        arguments = [self.arguments(index) for index in members]
        alone = {members.index(index): recording for index, recording in known.items() if index in members}
        recordings = record_together(self.model, self.modules, arguments, alone, self.resources.pass_bytes)
        parts = measure_together(
            recordings,
            self.resolved(members[0], arguments[0], recordings[0]),
            [self._decided(index, recordings[0]).admits(0) for index in members],
            joint_progress(self.progress, members[0], len(self.texts), len(members)),
            baselines=self.baselines,
            resources=self.resources,
            batch=batch,
        )
        for index, part, given in zip(members, parts, arguments, strict=True):
            self.finish(index, part, given)
        return dict(zip(members, parts, strict=True))

    def _decided(self, index: int, recording: Recording) -> DetailBudget:
        """A budget that says of one input what the run's says in the order of the inputs."""
        batches = self._batches(recording.width)
        is_admitted = batches.admitted(index, self.budget, self.settings, recording.numbers, self._saved)
        return DetailBudget("all" if is_admitted else "none")

    def _batches(self, width: int) -> Batches:
        if self._planned is None:
            self._planned = Batches.of_texts(self.texts, width, len(self.modules), self.resources)
        return self._planned

    def _saved(self, index: int) -> xr.Dataset | None:
        """What was measured earlier of an input, in the batch that it belongs to now: more inputs make another."""
        part = self.saved(index)
        if part is None:
            return None
        if BATCH not in part:
            part[BATCH] = ((), 1)
        return part if int(part[BATCH]) == len(self._batches(int(part.attrs["width"])).of(index)) else None


def measure(
    model: nn.Module,
    inputs: Any,
    k: K | Sequence[K] = DEFAULT_K,
    tokens: Tokens | None = None,
    seed: int = 0,
    *,
    kind: Kind = "depth",
    fixed_token: int | Literal["last"] | None = None,
    block_pairs: Sequence[tuple[int, int]] = (),
    block_list: str | None = None,
    engine: Engine = "auto",
    tol: float = DEFAULT_TOL,
    detail: Detail = "auto",
    batch_size: BatchSize = "auto",
    memory_budget: int | str = DEFAULT_MEMORY,
    progress: Callable[[int, int], None] | None = None,
    hash_weights: bool = True,
    token: Tokens | None = None,
    blocks: str | None = None,
) -> xr.Dataset:
    """Measure a model that is already in memory.

    Args:
        model: a transformers model, or one of timm's vision transformers; it is left as it was, training mode included.
        inputs: token ids, a tokenizer's output, or a sequence of either (see ``split_inputs``); for an image model
            ``{"pixel_values": tensor}`` with (n, channels, height, width).
        k: numbers of top singular vectors, or shares of the width: "10%" is d // 10.
        tokens: tokens measured: an index (negative from the end), "last", "all" or several indices. Default: the last
            for kind "depth" (of an image the class token, or the center patch where there is none), all for the other
            kinds.
        seed: seed of every random draw; the same seed gives the same numbers.
        kind: which Jacobians are compared: "depth", "self", "context-input" or "context-output".
        fixed_token: the token that a context kind keeps fixed.
        block_pairs: pairs of blocks for kind "self"; default: each block with itself.
        block_list: name of the list of residual blocks, such as "model.layers", where it cannot be found.
        engine: how singular vectors are found: "auto", "dense" or "matrix-free".
        tol: relative residual at which the matrix-free engine stops.
        detail: which prompts keep ``projection`` and ``residual_stream``, which the pictures ``grid`` and
            ``trajectory`` draw: "all", "none", or "auto" for the first ones up to 64 MB.
        batch_size: how many inputs of equal length are measured together; "auto" decides by width, depth and length.
        memory_budget: bytes, or a size such as "2GB", for Jacobians and the passes that make them; it is halved where
            the device runs out of memory.
        progress: called with (Jacobians done, Jacobians in total) of each prompt.
        hash_weights: record a hash of the weights in the attributes; this reads them all once.
        token: the former name of ``tokens``.
        blocks: the former name of ``block_list``.

    Returns:
        A Dataset over (prompt, k, norm, block, other_block) and more; the documentation lists its variables.

    Raises:
        CouplingError: if the model or the inputs cannot be measured; the message says what to do.

    Example:
        >>> import torch, transformers, coupling
        >>> config = transformers.GPT2Config(n_embd=32, n_head=2, n_layer=3, vocab_size=50)
        >>> run = coupling.measure(transformers.GPT2Model(config), torch.arange(8)[None], k=4)
        >>> run.mismatch.dims
        ('prompt', 'k', 'norm', 'block', 'other_block')
    """
    tokens = renamed("token", token, "tokens", tokens)
    block_list = renamed("blocks", blocks, "block_list", block_list)
    settings = Settings(normalize_k(k), kind, tokens, fixed_token, tuple(block_pairs), engine, tol, seed)
    resources = Resources(batch_size, parse_bytes(memory_budget))
    origin = provenance(model, settings, hash_weights=hash_weights)
    _, modules = find_blocks(model, block_list)
    given = split_inputs(inputs)

    def resolved(index: int, arguments: dict[str, Any], recording: Recording) -> Settings:
        """The tokens of an image have their own default."""
        grid = _grid(model, arguments, recording.n_tokens)
        return settings if grid is None else with_patches(settings, grid)

    def finish(index: int, part: xr.Dataset, arguments: dict[str, Any]) -> None:
        """The tokens of an image are named by their patches."""
        grid = _grid(model, arguments, part.sizes["token"])
        if grid is not None:
            describe_grid(part, grid)
            part.attrs["measured_place"] = measured_place(settings, grid)

    def on_jacobian(index: int, count: int, done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)

    run = join_prompts(
        MeasuredInputs(
            model,
            modules,
            settings,
            resources,
            DetailBudget(detail),
            [None if "pixel_values" in one or "input_ids" not in one else one for one in given],
            given.__getitem__,
            resolved,
            finish,
            progress=on_jacobian,
        )
    )
    run.attrs |= origin
    return run


def _grid(model: nn.Module, arguments: dict[str, Any], n_tokens: int) -> PatchGrid | None:
    """The patches of an image; None for a text."""
    if "pixel_values" not in arguments or "input_ids" in arguments:
        return None
    return PatchGrid.of(model, arguments["pixel_values"], n_tokens)
