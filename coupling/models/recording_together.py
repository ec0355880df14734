r"""One forward pass that records several prompts of equal length; each of them then has a ``Recording`` of its own.

The pass has one row per prompt, and the recordings are views of its rows: of the residual stream, of the keys, values
and masks of each attention, and of the arguments of each block. Which axis of an argument belongs to the prompts is not
guessed from its size: it is the axis along which the argument differs in shape from that of one prompt alone.

Nothing is assumed of the model. In every such pass, the first and the last prompt must have what they have alone, to
the rounding of the dtype: the residual stream, what each attention saw, and the arguments of each block. A model in
which a prompt depends on those before it in the pass shows that at the last one. The verdict is not kept for other
passes: it may depend on what the prompts contain (experts with a capacity), and a run that was interrupted has to come
to the same one when it goes on. What this does not show is a model in which prompts between those two disturb only each
other, as experts with a capacity could; with ``batch_size=1`` each prompt is recorded alone. Where anything disagrees
or cannot be split, all prompts are recorded one by one. So are a few prompts, or long ones, where recording two of them
twice costs as much as the common pass saves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from coupling.linalg.jacobian import PASS_MEMORY
from coupling.models import attention
from coupling.models.attention_expansion import Attended
from coupling.models.blocks import is_prompt_learning
from coupling.models.calls import BlockCall
from coupling.models.forward import observe
from coupling.models.locality import close
from coupling.models.recording import Recording, record_blocks
from coupling.numerics import exact_numerics

MOST_TOKENS = 2048
"""Tokens of one pass, beyond which nothing is gained."""
AROUND = 6 * 10**6
"""Multiplications that take as long, on one core, as what a pass saves around a block's products for each prompt."""


class NotSplitError(Exception):
    """It cannot be told which part of a value belongs to which prompt."""


@dataclass
class Rows:
    """Splits what a pass of several prompts contains.

    Attributes:
        count: the number of prompts.
        known: tensors that were split, with their parts: models give the same mask to all of their blocks.
    """

    count: int
    known: dict[int, tuple[Tensor, list[Tensor]]] = field(default_factory=dict)

    def split(self, whole: Any, alone: Any) -> list[Any]:
        """The part of each prompt.

        Args:
            whole: a value in the pass of all prompts.
            alone: the same of one prompt alone.

        Raises:
            NotSplitError: if it cannot be told.
        """
        if isinstance(whole, Tensor) and isinstance(alone, Tensor):
            if id(whole) not in self.known:
                self.known[id(whole)] = whole, self._split(whole, alone)
            return self.known[id(whole)][1]
        kind = type(whole)
        if kind is type(alone) and kind in (list, tuple) and len(whole) == len(alone):
            parts = [self.split(one, other) for one, other in zip(whole, alone, strict=True)]
            return [kind(part[index] for part in parts) for index in range(self.count)]
        if kind is type(alone) and kind is dict and list(whole) == list(alone):
            values = self.split(list(whole.values()), list(alone.values()))
            return [dict(zip(whole, value, strict=True)) for value in values]
        is_plain = isinstance(whole, (bool, int, float, str)) and kind is type(alone)
        if whole is alone or (is_plain and whole == alone):
            return [whole] * self.count
        raise NotSplitError(kind.__name__)

    def _split(self, whole: Tensor, alone: Tensor) -> list[Tensor]:
        if whole.ndim != alone.ndim:
            raise NotSplitError("a tensor")
        axes = [axis for axis, (a, b) in enumerate(zip(whole.shape, alone.shape, strict=True)) if a != b]
        if not axes:
            return [whole] * self.count
        if len(axes) > 1 or whole.shape[axes[0]] != self.count or alone.shape[axes[0]] != 1:
            raise NotSplitError("a tensor")
        parts = list(whole.split(1, axes[0]))
        # one part for all where they are equal, as masks are: whether calls are alike need not be asked of each then
        return [parts[0]] * self.count if bool((whole == parts[0]).all()) else parts

    def calls(self, whole: BlockCall, alone: BlockCall) -> list[BlockCall]:
        """How the model called a block, for each prompt."""
        if whole.block is not alone.block or whole.packed or alone.packed or whole.names != alone.names:
            raise NotSplitError("a call")
        parts = self.split([whole.arguments, whole.keywords], [alone.arguments, alone.keywords])
        return [replace(whole, arguments=arguments, keywords=keywords) for arguments, keywords in parts]


@dataclass
class RowsTape(attention.Tape):
    """The attention calls of a pass of several prompts.

    Attributes:
        rows: splits them.
        alone: the tape of one prompt alone.
        tapes: that of each prompt.
    """

    rows: Rows = field(kw_only=True)
    alone: attention.Tape = field(kw_only=True)

    def __post_init__(self) -> None:
        self.tapes = [attention.Tape(foreign=self.foreign, own=self.own) for _ in range(self.rows.count)]

    def split(self, module: nn.Module, key: Tensor, value: Tensor, seen: Attended) -> list[Attended]:
        """What the module saw in each prompt, which its tape keeps."""
        alone = None if self.block is None else self.alone.attended.get((self.block, module))
        if self.block is None or alone is None or len(key) != self.rows.count or len(value) != self.rows.count:
            raise NotSplitError("an attention call")
        masks = self.rows.split(seen.mask, alone.mask)
        parts = [replace(seen, key=k, value=v, mask=mask) for k, v, mask in zip(key, value, masks, strict=True)]
        for tape, part in zip(self.tapes, parts, strict=True):
            tape.attended[self.block, module] = part
        return parts


def prompts_per_pass(width: int, n_tokens: int, itemsize: int, memory: int = PASS_MEMORY) -> int:
    """How many prompts are recorded in one pass at most; 0 where they are recorded one by one.

    Args:
        width: d.
        n_tokens: n.
        itemsize: bytes of a number.
        memory: bytes that the pass may use, beside what is kept of it: about 32 numbers of the stream's size, and
            16 of each pair of tokens.
    """
    return min(MOST_TOKENS // n_tokens, memory // (n_tokens * itemsize * (32 * width + 16 * n_tokens)))


def saves_time(prompts: int, n_tokens: int, parameters: int) -> bool:
    """Whether a pass takes less time than the prompts one by one: two of them are recorded alone as well.

    Args:
        prompts: of the pass.
        n_tokens: n.
        parameters: of a block.
    """
    # two are recorded alone as well, and the common pass costs what is around one
    return (prompts - 3) * AROUND > 2 * n_tokens * parameters


def record_together(
    model: nn.Module,
    modules: list[nn.Module],
    inputs: Sequence[dict[str, Any]],
    known: Mapping[int, Recording] | None = None,
    memory: int = PASS_MEMORY,
) -> list[Recording]:
    """Record prompts in as few passes as the memory allows, or one by one where that is not right.

    Args:
        model: the model.
        modules: its blocks.
        inputs: the arguments of each prompt's forward pass, of equal names and shapes.
        known: recordings of some of the prompts alone, by their index.
        memory: bytes that a pass may use.

    Raises:
        CouplingError: as ``coupling.record``.
    """
    made = dict(known or {})

    def alone(index: int) -> Recording:
        if index not in made:
            made[index] = record_blocks(model, modules, inputs[index])
        return made[index]

    one = alone(0)
    most = max(1, prompts_per_pass(one.width, one.n_tokens, one.trajectory.dtype.itemsize, memory))
    parameters = sum(parameter.numel() for parameter in modules[0].parameters())
    recordings: list[Recording] = []
    for start in range(0, len(inputs), most):
        chunk = range(start, min(start + most, len(inputs)))
        passed = None
        if saves_time(len(chunk), one.n_tokens, parameters):
            ends = alone(chunk[0]), alone(chunk[-1])
            passed = one_pass(model, modules, [inputs[index] for index in chunk], ends)
        recordings += passed or [alone(index) for index in chunk]
    return recordings


@exact_numerics()
def one_pass(
    model: nn.Module,
    modules: list[nn.Module],
    inputs: Sequence[dict[str, Any]],
    ends: tuple[Recording, Recording],
) -> list[Recording] | None:
    """The recordings of prompts from one pass; None where they have to be made one by one.

    Args:
        model: the model.
        modules: its blocks.
        inputs: see ``record_together``.
        ends: the recordings of the first and of the last prompt alone.
    """
    if not (all(map(_is_plain, inputs)) and _may_be_split(model, ends[0])):
        return None
    drawn = torch.get_rng_state()
    try:
        recordings = _rows(model, modules, inputs, ends[0])
    except Exception as error:  # a model raises anything, and the prompt at fault is named where it is alone
        if isinstance(error, torch.OutOfMemoryError):
            raise
        recordings = []
    if not torch.equal(drawn, torch.get_rng_state()):
        torch.set_rng_state(drawn)
        return None
    if not recordings or not all(_agree(recordings[index], ends[index]) for index in (0, -1)):
        return None
    return recordings


def _is_plain(inputs: dict[str, Any]) -> bool:
    """Whether a model is given a text alone: each argument has one entry per token."""
    ids = inputs.get("input_ids")
    return isinstance(ids, Tensor) and all(isinstance(v, Tensor) and v.shape == ids.shape for v in inputs.values())


def _may_be_split(model: nn.Module, alone: Recording) -> bool:
    """Whether the prompts of a model may be recorded together, as far as one alone tells it.

    Where a block is not replayed with recorded attention, the forward pass is a small part of the work. In half
    precision, rounding hides that a prompt depends on others.
    """
    is_encoder_decoder = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return (
        not is_encoder_decoder
        and not is_prompt_learning(model)
        and alone.trajectory.dtype.itemsize >= 4
        and all(alone.replays(block)[0] == "token-local" for block in range(alone.n_blocks))
    )


def _rows(
    model: nn.Module, modules: list[nn.Module], inputs: Sequence[dict[str, Any]], alone: Recording
) -> list[Recording]:
    """The recordings of prompts from one pass, as one prompt alone says how it is split; none if it is not finite."""
    rows = Rows(len(inputs))
    tape = RowsTape(own=alone.locality.own, rows=rows, alone=alone.tape)
    joint = {name: torch.cat([one[name] for one in inputs]) for name in inputs[0]}
    done = observe(model, modules, joint, attention.NAME, tape, prompts=len(inputs))
    calls = zip(*(rows.calls(*pair) for pair in zip(done.calls, alone.calls, strict=True)), strict=True)
    trajectories = torch.stack(done.streams, 1)
    if not torch.isfinite(trajectories).all():
        return []
    return [
        Recording(model, trajectory, list(called), done.numbers, one, alone.locality)
        for trajectory, called, one in zip(trajectories, calls, tape.tapes, strict=True)
    ]


def _agree(one: Recording, alone: Recording) -> bool:
    """Whether a prompt has the residual stream, the arguments and the attention that it has alone."""
    return (
        one.trajectory.shape == alone.trajectory.shape
        and one.numbers == alone.numbers
        and close(one.trajectory, alone.trajectory, alone.trajectory)
        and one.tape.foreign == alone.tape.foreign
        and _are_equal(_contents(one), _contents(alone))
    )


def _contents(recording: Recording) -> list[Any]:
    """The arguments of the blocks, and what each attention saw."""
    calls = [[call.block, call.length, call.arguments, call.keywords] for call in recording.calls]
    return [calls, {place: list(vars(seen).values()) for place, seen in recording.tape.attended.items()}]


def _are_equal(a: Any, b: Any) -> bool:
    """Whether values are equal; numbers to the rounding of their dtype, relative to those of a head, or of a prompt."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a, b) or (a.is_floating_point() and a.ndim > 0 and close(*map(_flat, (a, b, b))))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_are_equal, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_are_equal(a[key], b[key]) for key in a)
    return bool(a == b)


def _flat(x: Tensor) -> Tensor:
    return x.flatten(-2) if x.ndim > 1 else x
