"""Makes the factored Jacobians of prompts, one by one or many at once, and records how they were made."""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock
from typing import Any

from jaxtyping import Float
from torch import Tensor

from coupling.baselines import JacobianProperties
from coupling.errors import CouplingError
from coupling.linalg.batched import factor_dense
from coupling.linalg.jacobian import REPLAYS, BlockJacobian, DenseJacobian, Replay
from coupling.linalg.pairwise import FactoredJacobian, Frames, Projection, engine_for, factor, project
from coupling.linalg.svd import SingularTriplets
from coupling.models.narrow import narrow_of
from coupling.models.recording import Recording
from coupling.models.together import Place, dense_together, places_per_pass
from coupling.plan import Group, Key, Plan
from coupling.resources import DEFAULT_RESOURCES, Resources
from coupling.settings import Settings


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

    def variables(self, plan: Plan) -> dict[str, Any]:
        """What the prompt's Dataset says of it, as xarray takes variables."""
        measured = range(plan.n_blocks) if plan.kind == "depth" else [first for first, _ in plan.pairs]
        return {
            "unconverged": ((), self.n_unconverged),
            "token_local": (("block",), [self.replays[at] in REPLAYS[:2] for at in measured]),
            "replay": (("block",), [self.replays[at] for at in measured]),
        }

    @property
    def attributes(self) -> dict[str, str]:
        """What the attributes of the prompt's Dataset say of it."""
        return {"engine": "+".join(sorted(self.engines)), "linearization": "+".join(sorted(set(self.replays.values())))}


class Factory:
    """Makes the factored Jacobians of one prompt.

    Args:
        recording: the prompt's forward pass.
        plan: what is measured of it.
        settings: how.
        resources: the memory that may be used.
        baselines: also measure properties of the Jacobians.

    Attributes:
        ready: Jacobians that were factored ahead, with how their block was replayed.
        made: how those that were asked for were made.
        properties: what coupling is compared with, of each.
    """

    def __init__(
        self,
        recording: Recording,
        plan: Plan,
        settings: Settings,
        resources: Resources = DEFAULT_RESOURCES,
        *,
        baselines: bool = False,
    ) -> None:
        self.recording, self.plan, self.settings, self.resources = recording, plan, settings, resources
        self.baselines = baselines
        self.properties: dict[Key, JacobianProperties] = {}
        self.ready: dict[Key, tuple[FactoredJacobian, Replay]] = {}
        self.made = Made()
        self._replaying = Lock()

    def __call__(self, key: Key, *, n_compared: int) -> FactoredJacobian:
        """The factored Jacobian of a key, which will be compared with ``n_compared`` others."""
        result, replay = self.ready.get(key) or self.make(key, n_compared=n_compared)
        self.made.add(key.block, result.triplets, replay)
        return result

    def make(self, key: Key, *, n_compared: int, passes: int = 1) -> tuple[FactoredJacobian, Replay]:
        """As calling the factory, without noting how it was made; several threads may do this at a time.

        Args:
            key: the Jacobian.
            n_compared: see there.
            passes: the number of passes that share the memory.

        Returns:
            The factored Jacobian, and how the block was replayed.
        """
        with self.naming(key):
            with self._replaying:  # a replay changes the model's settings for a moment
                jacobian = self.jacobian(key)
            jacobian.chunk = max(1, jacobian.chunk // passes)
            result = factor(
                jacobian,
                self.plan.ks.largest,
                n_compared=n_compared,
                engine=self.settings.engine,
                tol=self.settings.tol,
                seed=self.settings.seed,
            )
        if isinstance(result.operator, BlockJacobian) and narrow_of(self.recording.model) is not None:
            # its graph would keep the block's weights in float32; the products go through the block again
            result = FactoredJacobian(None, result.triplets, result.moments)
        if self.baselines:
            operator = result.operator or jacobian
            self.properties[key] = JacobianProperties.of(operator, result.moments, self.settings.seed)
        return result, jacobian.replay

    def jacobian(self, key: Key) -> BlockJacobian:
        """The Jacobian of a key."""
        place = self.place(key)
        jacobian = self.recording.jacobian(key.block, place.token, place.output_token)
        jacobian.chunk = max(1, int(jacobian.chunk * self.resources.pass_share))
        return jacobian

    def named(self, key: Key) -> BlockJacobian:
        """As ``jacobian``; an error names the block and the token."""
        with self.naming(key):
            return self.jacobian(key)

    def place(self, key: Key) -> Place:
        """The tokens of a key, counted on what the blocks see."""
        virtual = self.recording.n_virtual
        return Place(self.recording, key.token + virtual, key.output_token + virtual)

    def projected(self, keys: Sequence[Key], frames: Frames) -> Iterator[Projection]:
        """Jacobians, of which only the frames were kept, made again and multiplied with frames of others."""
        made = operators([(self, key) for key in keys])
        for key in keys:
            with self.naming(key):
                row = project(next(made), frames)  # no name keeps the last operator while the next is made
            yield row

    @contextmanager
    def naming(self, key: Key) -> Iterator[None]:
        """A context whose errors name the block, as the model counts it, and the token."""
        try:
            yield
        except CouplingError as error:
            number = self.recording.numbers[key.block]
            raise CouplingError(f"block {number}, token {key.token}: {error}") from None


Wanted = tuple[Factory, Key]
"""A prompt and which of its Jacobians."""


def make_ahead(factories: Sequence[Factory], groups: Sequence[Group]) -> Iterator[int]:
    """Factor the Jacobians of some comparisons, of all prompts, as many at once as the memory allows.

    Those that cannot be made so, or of which the matrix is not formed, are left to the factories.

    Args:
        factories: of prompts that have the same plan.
        groups: the comparisons.

    Yields:
        The number of Jacobians that the last pass made.
    """
    counts = compared(groups)
    yield from make_keys_ahead(factories, counts, kept_of(factories[0], counts))


def compared(groups: Sequence[Group]) -> dict[Key, int]:
    """The Jacobians of some comparisons, each with the number of those that it is compared with at most."""
    counts: dict[Key, int] = {}
    for group in groups:
        for key in group.made:
            counts[key] = max(counts.get(key, 0), len(group.a))
    return counts


def kept_of(factory: Factory, counts: Mapping[Key, int]) -> dict[Key, int]:
    """Those Jacobians whose matrices are kept for the comparison, because all of one fit the memory."""
    size = factory.recording.width**2 * factory.recording.trajectory.dtype.itemsize
    return {key: count for key, count in counts.items() if size * count <= factory.resources.kept_bytes}


def make_keys_ahead(factories: Sequence[Factory], counts: Mapping[Key, int], kept: Container[Key]) -> Iterator[int]:
    """As ``make_ahead``, of the Jacobians that are named.

    Args:
        factories: of prompts that have the same plan.
        counts: the Jacobians, each with the number of those that it is compared with.
        kept: those whose matrix is kept, and not only their frames.
    """
    first = factories[0]
    width, k = first.recording.width, first.plan.ks.largest
    dense = [
        key for key, count in counts.items() if engine_for((width, width), k, count, first.settings.engine) == "dense"
    ]
    for _, keys in groupby(sorted(dense, key=_order), _kind_of):
        wanted = [(factory, key) for key in keys for factory in factories]
        for chunk in _chunks(wanted, first.resources):
            matrices = _dense(chunk)
            if matrices is None:
                continue
            found = factor_dense(matrices, k, tol=first.settings.tol, seed=first.settings.seed)
            for (factory, key), item in zip(chunk, found, strict=True):
                if item is None:
                    continue  # alone it is refused, with its name
                if factory.baselines and item.operator is not None:
                    properties = JacobianProperties.of(item.operator, item.moments, factory.settings.seed)
                    factory.properties[key] = properties
                if key not in kept:
                    item = FactoredJacobian(None, item.triplets, item.moments)
                factory.ready[key] = item, "token-local"
            yield len(chunk)


def operators(wanted: Sequence[Wanted]) -> Iterator[BlockJacobian | DenseJacobian]:
    """Jacobians of one or several prompts in their order, as many formed at once as the memory allows.

    Where they cannot be formed together, each is an operator that is not formed.
    """
    for chunk in _chunks(wanted, wanted[0][0].resources) if wanted else ():
        dense = _dense(chunk)
        for index, (factory, key) in enumerate(chunk):
            if dense is not None:
                yield DenseJacobian(dense[index])
                continue
            yield factory.named(key)


def _order(key: Key) -> tuple[int, bool, int, int]:
    return (*_kind_of(key), key.token, key.output_token)


def _kind_of(key: Key) -> tuple[int, bool]:
    """What the Jacobians of one pass have in common."""
    return key.block, key.token == key.output_token


def _chunks(wanted: Sequence[Wanted], resources: Resources) -> Iterator[list[Wanted]]:
    """As many as fit one pass, of one block and one kind each."""
    for _, same in groupby(wanted, lambda item: _kind_of(item[1])):
        items = list(same)
        recording, key = items[0][0].recording, items[0][1]
        rows = len(items[0][0].place(key).rows)
        itemsize = recording.trajectory.dtype.itemsize
        most = places_per_pass(recording.width, recording.n_tokens, itemsize, rows, resources.pass_bytes)
        for start in range(0, len(items), most):
            chunk = items[start : start + most]
            if len(chunk) * rows == recording.n_tokens and len(chunk) > 1:
                # as many tokens as there are keys cannot be told from them
                half = len(chunk) // 2
                yield chunk[:half]
                chunk = chunk[half:]
            yield chunk


def _dense(wanted: Sequence[Wanted]) -> Float[Tensor, "g d d"] | None:
    """The matrices of one pass; None where they have to be made one by one."""
    places = [factory.place(key) for factory, key in wanted]
    return dense_together(places, wanted[0][1].block, wanted[0][0].resources.pass_bytes)
