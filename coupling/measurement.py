"""Measure a model in memory: recordings, Jacobians, singular triplets and comparisons become one Dataset."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import xarray as xr
from torch import nn

from coupling.baselines import JacobianProperties, add_jacobian_baselines, add_stream_baselines
from coupling.choices import DEFAULT_K, DEFAULT_TOL, Detail, Engine, Kind
from coupling.dataset import assemble
from coupling.detail import DetailBudget, detail_bytes
from coupling.errors import CouplingError, renamed
from coupling.joining import join_prompts
from coupling.linalg.jacobian import REPLAYS, BlockJacobian, Replay
from coupling.linalg.pairwise import FactoredJacobian, compare, factor
from coupling.linalg.svd import SingularTriplets
from coupling.models.blocks import find_blocks
from coupling.models.inputs import describe_grid, measured_place, with_patches
from coupling.models.patches import PatchGrid
from coupling.models.recording import Recording, record_blocks
from coupling.models.tokenization import split_inputs
from coupling.plan import Key, Plan
from coupling.provenance import provenance
from coupling.settings import Settings, Tokens
from coupling.shares import K, normalize_k

Progress = Callable[[int, int], None]
"""Called with (Jacobians done, Jacobians in total) of the current prompt."""


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
    progress: Progress | None = None,
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
    origin = provenance(model, settings, hash_weights=hash_weights)
    _, modules = find_blocks(model, block_list)
    budget = DetailBudget(detail)
    run = join_prompts(
        _measure_input(model, modules, prompt, settings, progress, budget) for prompt in split_inputs(inputs)
    )
    run.attrs |= origin
    return run


def _measure_input(
    model: nn.Module,
    modules: list[nn.Module],
    arguments: dict[str, Any],
    settings: Settings,
    progress: Progress | None,
    budget: DetailBudget,
) -> xr.Dataset:
    """Measure one input; the tokens of an image are named by their patches, and have their own default."""
    recording = record_blocks(model, modules, arguments)
    if "pixel_values" not in arguments or "input_ids" in arguments:
        return measure_recording(recording, settings, progress, budget)
    grid = PatchGrid.of(model, arguments["pixel_values"], recording.n_tokens)
    part = measure_recording(recording, with_patches(settings, grid), progress, budget)
    describe_grid(part, grid)
    part.attrs["measured_place"] = measured_place(settings, grid)
    return part


def measure_recording(
    recording: Recording,
    settings: Settings,
    progress: Progress | None = None,
    budget: DetailBudget | None = None,
    *,
    baselines: bool = False,
) -> xr.Dataset:
    """Measure one recorded prompt.

    Args:
        recording: the prompt's forward pass.
        settings: what is measured.
        progress: see ``Progress``.
        budget: decides whether the prompt keeps its projections and residual stream; None: it does not.
        baselines: also measure what coupling is compared with, of the residual stream and of the Jacobians.

    Returns:
        A Dataset without the prompt axis, over all tokens of the prompt.

    Raises:
        CouplingError: if a setting does not fit the prompt or the model, or a Jacobian is not finite.
    """
    n_virtual, width = recording.n_virtual, recording.width
    n_tokens = recording.n_tokens - n_virtual  # tokens are counted on the prompt
    plan = Plan.of(settings, n_tokens=n_tokens, blocks=recording.numbers, width=width)
    detailed = budget is not None and budget.admits(detail_bytes(plan, n_tokens, width))
    factory = Factory(recording, plan, settings, progress, baselines=baselines)
    groups = []
    for group in plan.groups():
        a = [factory(key, n_compared=len(group.a)) for key in group.a]
        b = a if group.a == group.b else [factory(key, n_compared=len(group.b)) for key in group.b]
        groups.append(compare(a, b, plan.ks.numbers, projections=detailed))
    trajectory = recording.trajectory[:, n_virtual:].double().cpu().numpy()
    dataset = assemble(groups, plan, trajectory, detailed=detailed)
    factory.made.describe(dataset, plan)
    if baselines:
        add_stream_baselines(dataset, trajectory)
        if plan.kind == "depth" and not plan.has_token_axis:
            add_jacobian_baselines(dataset, list(factory.properties.values()))
    if n_virtual:
        dataset.attrs["virtual_tokens"] = n_virtual
    return dataset


@dataclass
class Made:
    """How the Jacobians of one prompt were made.

    Attributes:
        n_unconverged: the number of those whose singular vectors do not meet the tolerance.
        engines: how singular vectors were found.
        replays: for each block how it was replayed; the slowest way of its Jacobians.
    """

    n_unconverged: int = 0
    engines: set[str] = field(default_factory=set)
    replays: dict[int, Replay] = field(default_factory=dict)

    def add(self, block: int, triplets: SingularTriplets, replay: Replay) -> None:
        """Note one Jacobian."""
        before = self.replays.get(block, replay)
        self.replays[block] = REPLAYS[max(REPLAYS.index(replay), REPLAYS.index(before))]
        self.engines.add(triplets.engine)
        self.n_unconverged += not triplets.converged

    def describe(self, dataset: xr.Dataset, plan: Plan) -> None:
        """Add it to the prompt's Dataset."""
        measured = range(plan.n_blocks) if plan.kind == "depth" else [first for first, _ in plan.pairs]
        dataset["unconverged"] = ((), self.n_unconverged)
        dataset.attrs["engine"] = "+".join(sorted(self.engines))
        dataset.attrs["linearization"] = "+".join(sorted(set(self.replays.values())))
        dataset["token_local"] = (("block",), [self.replays[at] in REPLAYS[:2] for at in measured])
        dataset["replay"] = (("block",), [self.replays[at] for at in measured])


class Factory:
    """Makes the factored Jacobians of one prompt, and records how they were made."""

    def __init__(
        self,
        recording: Recording,
        plan: Plan,
        settings: Settings,
        progress: Progress | None,
        *,
        baselines: bool = False,
    ) -> None:
        self.recording, self.settings, self.progress, self.baselines = recording, settings, progress, baselines
        self.properties: dict[Key, JacobianProperties] = {}
        self.k, self.total = plan.ks.largest, plan.jacobian_count()
        self.n_done = 0
        self.made = Made()

    def __call__(self, key: Key, *, n_compared: int) -> FactoredJacobian:
        """The factored Jacobian of a key, which will be compared with ``n_compared`` others."""
        settings = self.settings
        with self.naming(key):
            jacobian = self.jacobian(key)
            result = factor(
                jacobian,
                self.k,
                n_compared=n_compared,
                engine=settings.engine,
                tol=settings.tol,
                seed=settings.seed,
            )
        if self.baselines:
            self.properties[key] = JacobianProperties.of(result.operator or jacobian, result.moments, settings.seed)
        self.made.add(key.block, result.triplets, jacobian.replay)
        self.n_done += 1
        if self.progress is not None:
            self.progress(self.n_done, self.total)
        return result

    def jacobian(self, key: Key) -> BlockJacobian:
        """The Jacobian of a key."""
        virtual = self.recording.n_virtual
        return self.recording.jacobian(key.block, key.token + virtual, key.output_token + virtual)

    @contextmanager
    def naming(self, key: Key) -> Iterator[None]:
        """A context whose errors name the block, as the model counts it, and the token."""
        try:
            yield
        except CouplingError as error:
            number = self.recording.numbers[key.block]
            raise CouplingError(f"block {number}, token {key.token}: {error}") from None
