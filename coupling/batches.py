"""Which inputs are measured together, in what order, and which of them keep their detail.

Inputs share a batch where their arguments have the same names and shapes, so nothing is padded. Batches are formed from
the whole list: a run that was interrupted measures the same batches again, with the same bytes, and keeps of them what
is missing.
"""

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import xarray as xr
from torch import Tensor

from coupling.detail import DetailBudget, detail_bytes
from coupling.errors import CouplingError
from coupling.plan import Plan
from coupling.resources import Resources
from coupling.settings import Settings


def shape_of(arguments: dict[str, Any]) -> Hashable:
    """What inputs that are measured together have in common; None for an input that is measured alone (an image)."""
    if "input_ids" not in arguments or "pixel_values" in arguments:
        return None
    if not all(isinstance(value, Tensor) for value in arguments.values()):
        return None
    return tuple((name, tuple(value.shape), str(value.dtype)) for name, value in sorted(arguments.items()))


class Batches:
    """The batches of some inputs.

    Args:
        shapes: what ``shape_of`` says of each input.
        lengths: the number of tokens of each; 0 where it is not known yet.
        width: d.
        blocks: L.
        resources: how many inputs are measured together.
    """

    def __init__(
        self, shapes: Sequence[Hashable], lengths: Sequence[int], width: int, blocks: int, resources: Resources
    ) -> None:
        self.lengths, self.width = lengths, width
        latest: dict[Hashable, list[int]] = {}
        self._of: list[list[int]] = []
        for index, (shape, length) in enumerate(zip(shapes, lengths, strict=True)):
            batch = latest.get(shape)
            if shape is None or batch is None or len(batch) >= resources.prompts_together(width, length, blocks):
                batch = latest[shape] = []
            batch.append(index)
            self._of.append(batch)
        self._admitted: list[bool] = []

    @classmethod
    def of_texts(
        cls, texts: Sequence[dict[str, Any] | None], width: int, blocks: int, resources: Resources
    ) -> "Batches":
        """The batches of inputs, by the arguments of their forward passes; None for one that is measured alone."""
        shapes = [None if given is None else shape_of(given) for given in texts]
        lengths = [0 if given is None else given["input_ids"].shape[-1] for given in texts]
        return cls(shapes, lengths, width, blocks, resources)

    def of(self, index: int) -> list[int]:
        """The inputs that an input is measured with, itself included."""
        return self._of[index]

    def admitted(
        self,
        index: int,
        budget: DetailBudget,
        settings: Settings,
        blocks: Sequence[int],
        saved: Callable[[int], xr.Dataset | None],
    ) -> bool:
        """Whether an input keeps its detail; it is decided in the order of the inputs, not of the batches.

        Args:
            index: the input.
            budget: decides.
            settings: what is measured.
            blocks: the numbers of the blocks.
            saved: what was measured earlier of each.
        """
        while len(self._admitted) <= index:
            at = len(self._admitted)
            part = saved(at)
            is_admitted = False
            if part is not None:
                budget.count(part)
            else:
                with contextlib.suppress(CouplingError):  # what does not fit the input is refused in its turn
                    plan = Plan.of(settings, n_tokens=self.lengths[at], blocks=list(blocks), width=self.width)
                    is_admitted = budget.admits(detail_bytes(plan, self.lengths[at], self.width))
            self._admitted.append(is_admitted)
        return self._admitted[index]


def joint_progress(
    progress: Callable[[int, int, int, int], None] | None, finished: int, inputs: int, batch: int
) -> Callable[[int, int], None]:
    """The progress of a batch as that of one input after the other.

    Args:
        progress: called with (input, number of inputs, Jacobians done, Jacobians in total of this input).
        finished: how many inputs have been measured.
        inputs: how many there are.
        batch: how many are measured together.
    """

    def report(done: int, total: int) -> None:
        if progress is not None:
            each = total // batch
            number = min(done // each, batch - 1)
            progress(finished + number, inputs, done - number * each, each)

    return report
