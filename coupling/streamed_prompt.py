"""One prompt of a streamed measurement: what is made of it at each block, what is kept, and its Dataset at the end.

At a block its Jacobians are factored, and multiplied with the frames of all Jacobians that they are compared with and
that are known by then. The products with frames of later blocks follow in a second pass. Of a Jacobian only its
triplets, its moments and these products (K x K each) are kept, on disk.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import xarray as xr
from torch import Tensor, nn

from coupling.dataset import assemble
from coupling.detail import DetailBudget, detail_bytes
from coupling.factory import Factory, Made
from coupling.linalg.jacobian import Replay
from coupling.linalg.pairwise import FactoredJacobian, Frames, Projected, Projection, compare, project
from coupling.measurement import BATCH, as_array
from coupling.models import attention
from coupling.models.block_results import packed, unpacked
from coupling.models.calls import BlockCall
from coupling.models.inputs import Input
from coupling.models.locality import Locality
from coupling.models.recording import Recording
from coupling.models.streaming import Passed, PromptPass, Stop
from coupling.numerics import exact_numerics
from coupling.plan import Group, Key, Plan
from coupling.resources import DEFAULT_RESOURCES, Resources
from coupling.settings import Settings
from coupling.stream_store import RecordKind, StreamStore
from coupling.streamed_records import add_factored, add_row, factored_of, rows_of


class StreamedPrompt:
    """One prompt: its pass, its plan, and its records.

    Args:
        number: the number of the prompt in the run.
        one: the prompt or image.
        settings: what is measured.
        store: where its records are.

    Attributes:
        walk: its forward pass.
        plan: what is measured of it; known once it has come to the first block.
        made: how its Jacobians were made.
        positions: for each measured block the position of its call among those of all blocks that are streamed.
        batch: the number of prompts whose Jacobians are made together, itself included.
    """

    def __init__(self, number: int, one: Input, settings: Settings, store: StreamStore) -> None:
        self.number, self.one, self.settings, self.store = number, one, settings, store
        self.walk: PromptPass | None = None
        self.plan: Plan | None = None
        self.groups: list[Group] = []
        self.positions: dict[int, int] = {}
        self.resolved = settings
        self.batch = 1

    def has(self, kind: RecordKind, position: int) -> bool:
        """Whether there is a record; those of Jacobians only count where they were made with as many prompts."""
        if not self.store.has(kind, position, self.number):
            return False
        return kind == "result" or self.store.get(kind, position, self.number)[0].get("batch", 1) == self.batch

    def start(self, model: nn.Module, modules: list[nn.Module], locality: Locality) -> None:
        """Begin a pass; it goes to the first block."""
        self.walk = PromptPass(model, modules, self.one.arguments(), attention.Tape(own=locality.own))
        self.walk.start()

    def resolve(self, stop: Stop, numbers: list[int]) -> None:
        """Make the plan, at the first block that is measured."""
        assert stop.stream is not None
        assert stop.block is not None
        self.positions[stop.block] = stop.position
        if self.plan is None or self.plan.blocks != numbers:
            _, n, width = stop.stream.shape
            self.resolved = self.one.settings(self.settings, self.one.arguments(), n)
            self.plan = Plan.of(self.resolved, n_tokens=n, blocks=numbers, width=width)
            self.groups = self.plan.groups()

    # What the blocks returned

    def result(self, position: int) -> Any:
        """What a block returned in an earlier pass; ``KeyError`` where that cannot stand for the block."""
        content, tensors = self.store.get("result", position, self.number)
        if not content["stands_for_block"]:
            raise KeyError(position)
        return _result_of(content, tensors, self._device)

    def keep_result(self, stop: Stop, passed: Passed) -> bool:
        """Save what a block returned; whether it can stand for the block in a later pass."""
        found = packed(passed.result)
        structure, tensors = found if found is not None else (None, [])
        kept = {str(index): tensor for index, tensor in enumerate(tensors)}
        if passed.output is not None:
            kept["output"] = passed.output[0]
        if stop.block == 0 and stop.stream is not None:
            kept["entered"] = stop.stream[0]
        stands = found is not None and not passed.changed_arguments
        content = {"structure": structure, "stands_for_block": stands}
        self.store.put("result", stop.position, self.number, content, kept)
        return stands

    @property
    def _device(self) -> torch.device:
        stream = None if self.walk is None or self.walk.stop is None else self.walk.stop.stream
        return torch.device("cpu") if stream is None else stream.device

    # Jacobians

    def recording(
        self,
        model: nn.Module,
        stop: Stop,
        output: Tensor,
        numbers: list[int],
        locality: Locality,
        tape: attention.Tape | None = None,
    ) -> Recording:
        """The recording of one block alone."""
        assert stop.stream is not None
        assert stop.block is not None
        assert self.walk is not None
        layers = _TwoLayers(stop.block, stop.stream[0], output[0], len(numbers) + 1)
        calls = cast(list[BlockCall], [None] * stop.block + [stop.call])
        tape = self.walk.tape if tape is None else tape
        return Recording(model, cast(Tensor, layers), calls, numbers, tape, locality)

    def keys(self, block: int) -> dict[Key, int]:
        """The Jacobians of a block, each with the number of those that it is compared with."""
        return {key: len(group.a) for group in self.groups for key in group.made if key.block == block}

    def later_rows(self, block: int) -> list[tuple[int, Key]]:
        """The group and the key of each Jacobian of a block that is compared with one of a later block."""
        return [
            (index, key)
            for index, group in enumerate(self.groups)
            if any(other.block > block for other in group.b)
            for key in group.a
            if key.block == block
        ]

    def factory(self, recording: Recording, resources: Resources = DEFAULT_RESOURCES) -> Factory:
        """What makes the Jacobians of a block."""
        assert self.plan is not None
        return Factory(recording, self.plan, self.resolved, resources)

    @exact_numerics()
    def measure(self, factory: Factory, block: int, noted: dict[str, Any]) -> None:
        """Factor the Jacobians of a block, multiply them with the frames that are known, and save what came out.

        Args:
            factory: makes the Jacobians; those that it has made ahead are ready.
            block: the number of the block among the calls.
            noted: what else the record says.
        """
        factored: dict[Key, FactoredJacobian] = {}
        content: dict[str, Any] = {"keys": [], "rows": [], "noted": noted, "batch": self.batch}
        tensors: dict[str, Tensor] = {}
        for key, n_compared in self.keys(block).items():
            alone = Made()
            factory.made = alone
            factored[key] = factory(key, n_compared=n_compared)
            add_factored(content, tensors, key, factored[key], alone.replays[block])
        later = set(self.later_rows(block))
        for index, group in enumerate(self.groups):
            keys = [key for key in group.a if key.block == block and (index, key) not in later]
            if not keys:
                continue
            known = self.factored([other for other in group.b if other.block != block]) | factored
            frames = Frames.of([known[other] for other in group.b])
            if all(factored[key].operator is not None for key in keys):
                rows: Projected = (project(factored[key].operator, frames) for key in keys)
            else:
                rows = factory.projected(keys, frames)
            for key, row in zip(keys, rows, strict=True):
                add_row(content, tensors, index, key, row)
        self.store.put("factors", self.positions[block], self.number, content, tensors)

    # What was kept

    def factored(self, keys: Sequence[Key]) -> dict[Key, FactoredJacobian]:
        """The triplets and moments of Jacobians, from their records."""
        found: dict[Key, FactoredJacobian] = {}
        for block in dict.fromkeys(key.block for key in keys):
            content, tensors = self.store.get("factors", self.positions[block], self.number)
            for index, entry in enumerate(content["keys"]):
                found[Key(*entry["key"])] = factored_of(entry, tensors, index)
        return {key: found[key] for key in keys}

    def dataset(self, budget: DetailBudget) -> xr.Dataset:
        """The prompt's Dataset, from its records.

        Args:
            budget: decides whether it keeps its projections and residual stream.
        """
        assert self.plan is not None
        layers: list[Tensor] = []
        rows: dict[tuple[int, Key], Projection] = {}
        factored: dict[Key, FactoredJacobian] = {}
        replays: dict[Key, Replay] = {}
        for block, position in sorted(self.positions.items()):
            _, kept = self.store.get("result", position, self.number)
            layers += [kept["entered"]] if block == 0 else []
            layers.append(kept["output"])
            for kind in ("factors", "rows"):
                if kind == "factors" or self.later_rows(block):
                    content, tensors = self.store.get(kind, position, self.number)
                    rows |= rows_of(content, tensors)
                    for index, entry in enumerate(content.get("keys", ())):
                        key = Key(*entry["key"])
                        factored[key], replays[key] = factored_of(entry, tensors, index), entry["replay"]
        trajectory = as_array(torch.stack(layers))
        n_tokens, width = trajectory.shape[1:]
        ks = self.plan.ks.numbers
        detailed = budget.admits(detail_bytes(self.plan, n_tokens, width))
        made, groups = Made(), []
        for index, group in enumerate(self.groups):
            a, b = ([factored[key] for key in side] for side in (group.a, group.b))
            projected = [rows[index, key] for key in group.a]
            groups.append(compare(a, b, ks, projections=detailed, projected=projected))
            for key in group.made:
                made.add(key.block, factored[key].triplets, replays[key])
        others = made.variables(self.plan) | {BATCH: ((), self.batch)}
        dataset = assemble(groups, self.plan, trajectory, detailed=detailed, others=others)
        dataset.attrs |= made.attributes
        self.one.describe(dataset, self.one.arguments(), self.settings)
        return dataset


class _TwoLayers:
    """What stands for a trajectory of which only the layers around one block are known."""

    def __init__(self, block: int, entered: Tensor, output: Tensor, layers: int) -> None:
        self._layers = {block: entered, block + 1: output}
        self.shape = torch.Size((layers, *entered.shape))
        self.device, self.dtype = entered.device, entered.dtype

    def __getitem__(self, index: Any) -> Tensor:
        layer, *rest = index if isinstance(index, tuple) else (index,)
        return self._layers[layer][tuple(rest)]


def _result_of(content: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> Any:
    numbered = [tensors[str(index)].to(device) for index in range(sum(name.isdigit() for name in tensors))]
    return unpacked(content["structure"], numbered)
