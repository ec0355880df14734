"""The Jacobians of a block of several streamed prompts: made in common passes, factored, multiplied and saved."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from coupling.errors import CouplingError
from coupling.factory import Factory, make_keys_ahead, operators
from coupling.linalg.jacobian import BlockJacobian, DenseJacobian
from coupling.linalg.pairwise import Frames, project
from coupling.measurement import with_less_memory
from coupling.numerics import exact_numerics
from coupling.plan import Key
from coupling.resources import Resources, is_out_of_memory
from coupling.streamed_prompt import StreamedPrompt
from coupling.streamed_records import add_row

Naming = Callable[[int], AbstractContextManager[Any]]
"""A context whose errors name a prompt, by its number."""
Waiting = tuple[StreamedPrompt, Factory, bool]
"""A prompt, what makes its Jacobians, and whether they are saved already: it only completes the batch then."""


def factor_together(waiting: Sequence[Waiting], block: int, noted: dict[str, Any], naming: Naming) -> Resources:
    """Factor the Jacobians of a block, and save what came out.

    Args:
        waiting: the prompts of a batch.
        block: the number of the block among the calls.
        noted: what else the records say.
        naming: see ``Naming``.

    Returns:
        The memory that may be used from now on: less where it ran out.
    """
    factories = [factory for _, factory, _ in waiting]
    resources = _make_ahead(factories, waiting[0][0].keys(block))
    for prompt, factory, is_saved in waiting:
        if not is_saved:
            with naming(prompt.number):
                prompt.measure(factory, block, noted)
    return resources


def multiply_together(waiting: Sequence[Waiting], block: int, noted: dict[str, Any], naming: Naming) -> None:
    """Multiply the Jacobians of a block with the frames of later blocks, and save the products.

    Args:
        waiting: the prompts of a batch.
        block: the number of the block among the calls.
        noted: what else the records say.
        naming: see ``Naming``.
    """
    rows = [LaterRows(prompt, block, noted) for prompt, _, _ in waiting]
    wanted = [(index, key) for key in rows[0].keys for index in range(len(waiting))]
    made = operators([(waiting[index][1], key) for index, key in wanted])
    for index, key in wanted:
        prompt, _, is_saved = waiting[index]
        with naming(prompt.number):
            operator = next(made)
            if not is_saved:
                rows[index].add(key, operator)
        del operator  # before the next is made
    for (prompt, _, is_saved), products in zip(waiting, rows, strict=True):
        if not is_saved:
            with naming(prompt.number):
                products.save()


def _make_ahead(factories: Sequence[Factory], counts: dict[Key, int]) -> Resources:
    """Make Jacobians together; what that cannot be done with is made one by one afterwards."""
    resources, recording = factories[0].resources, factories[0].recording
    size = len(factories) * len(counts) * recording.width**2 * recording.trajectory.dtype.itemsize
    while True:
        try:
            for _ in make_keys_ahead(factories, counts, counts if size <= resources.kept_bytes else ()):
                pass
            return resources
        except CouplingError:
            return resources  # the one at fault is named when it is made alone
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        resources = with_less_memory(resources)
        for factory in factories:
            factory.resources = resources
            factory.ready.clear()


class LaterRows:
    """The products of the Jacobians of a block with the frames of later blocks, of one prompt.

    Args:
        prompt: the prompt.
        block: the number of the block among the calls.
        noted: what else the record says.
    """

    def __init__(self, prompt: StreamedPrompt, block: int, noted: dict[str, Any]) -> None:
        self.prompt, self.block = prompt, block
        self.content: dict[str, Any] = {"rows": [], "noted": noted, "batch": prompt.batch}
        self.tensors: dict[str, Tensor] = {}
        self.rows = prompt.later_rows(block)
        self.own = prompt.factored(list(prompt.keys(block)))
        self._frames: dict[int, Frames] = {}

    @property
    def keys(self) -> list[Key]:
        """The Jacobians."""
        return list(dict.fromkeys(key for _, key in self.rows))

    @exact_numerics()
    def add(self, key: Key, operator: BlockJacobian | DenseJacobian) -> None:
        """Multiply one Jacobian; its matrix is formed where its singular vectors were found so."""
        if isinstance(operator, BlockJacobian) and self.own[key].triplets.engine == "dense":
            operator = DenseJacobian(operator.to_dense())
        for index, other in self.rows:
            if other != key:
                continue
            if index not in self._frames:
                group = self.prompt.groups[index].b
                known = self.prompt.factored(group)
                self._frames[index] = Frames.of([known[one] for one in group])
            add_row(self.content, self.tensors, index, key, project(operator, self._frames[index]))

    def save(self) -> None:
        """Save the products."""
        prompt = self.prompt
        prompt.store.put("rows", prompt.positions[self.block], prompt.number, self.content, self.tensors)
