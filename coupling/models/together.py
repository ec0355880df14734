r"""Jacobians of one block at many tokens, of one or several recordings, in one pass.

Many small products become a few large ones: the block runs once on a "sequence" of the moving tokens, which do not see
each other, each with the keys and values of its own recording. Only blocks that the checks of
``coupling.models.locality`` found to be token-local are replayed so, and prompts share a pass only where the model
called the block with equal arguments, which prompts of equal length have.

Nothing is assumed here either: every value must be that inside the model, and the first time the derivative along a
random direction must be that of the tokens alone. Where this fails, each Jacobian is made by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from coupling.linalg.jacobian import PASS_MEMORY, ManyJacobians
from coupling.models import attention
from coupling.models.attention_replay import AmbiguousKeysError
from coupling.models.calls import BlockCall
from coupling.models.linear_calls import same_direction
from coupling.models.locality import close
from coupling.models.recording import Recording
from coupling.models.replay import entered
from coupling.models.tail import NO_TAIL, Cut, Tail, cutting
from coupling.numerics import exact_numerics


@dataclass(frozen=True)
class Place:
    """Where a Jacobian is wanted.

    Attributes:
        recording: the prompt.
        token: the input token s.
        output_token: the output token t.
    """

    recording: Recording
    token: int
    output_token: int

    @property
    def rows(self) -> list[int]:
        """The tokens that move, or are read."""
        return sorted({self.token, self.output_token})


def places_per_pass(width: int, n_tokens: int, itemsize: int, rows: int = 1, memory: int = PASS_MEMORY) -> int:
    """How many Jacobians are made in one pass: all of their rows fit, and so do copies of keys and values.

    Args:
        width: d.
        n_tokens: n, the length of the prompts.
        itemsize: bytes of a number.
        rows: tokens that move or are read for each.
        memory: bytes that the pass may use.
    """
    products = memory // (48 * width * width * itemsize * rows)
    expansions = memory // (6 * n_tokens * width * itemsize * rows)
    return max(1, min(products, expansions))


@exact_numerics()
def dense_together(places: Sequence[Place], block: int, memory: int = PASS_MEMORY) -> Float[Tensor, "g d d"] | None:
    """The dense Jacobians of a block at several places; None where they have to be made one by one.

    Args:
        places: at least one; all with one token each (s = t), or all with two.
        block: index of the block.
        memory: bytes that the pass may use.
    """
    first = places[0].recording
    locality = first.locality
    kind = block, len(places[0].rows)
    if kind[1] == 1 and block in locality.heads:
        return None  # alone each of them needs fewer products than together
    if len(places) < 2 or not locality.together.get(kind, True) or not _are_alike(places, block):
        return None
    for tail in dict.fromkeys((locality.tails.get(block, NO_TAIL), NO_TAIL)):
        try:
            many = _many(places, block, tail)
        except AmbiguousKeysError:
            return None
        except Exception as error:  # a block raises anything
            if isinstance(error, torch.OutOfMemoryError):
                raise
            continue
        if _values_agree(many, places, block):
            break
    else:
        locality.together[kind] = False
        return None
    if kind not in locality.together:
        locality.together[kind] = _derivatives_agree(many, places, block)
        if not locality.together[kind]:
            return None
    many.chunk = max(1, many.chunk * memory // PASS_MEMORY)
    return many.to_dense()


def _are_alike(places: Sequence[Place], block: int) -> bool:
    """Whether a block was called alike in all recordings, and can be replayed on single tokens in each."""
    recordings = list({id(place.recording): place.recording for place in places}.values())
    first = recordings[0]
    return (
        len({len(place.rows) for place in places}) == 1
        and all(one.locality is first.locality and one.replays(block)[0] == "token-local" for one in recordings)
        and all(one.n_tokens == first.n_tokens for one in recordings)
        and same_calls([one.calls[block] for one in recordings])
    )


def _many(places: Sequence[Place], block: int, tail: Tail) -> ManyJacobians:
    """The Jacobians as operators, by one run of the block."""
    first = places[0].recording
    device = first.trajectory.device
    kept = [place.rows for place in places]
    rows = torch.tensor(kept, device=device)
    groups, r = rows.shape
    each = torch.arange(groups, device=device)
    moving, read = (
        [row.index(getattr(place, name)) for row, place in zip(kept, places, strict=True)]
        for name in ("token", "output_token")
    )
    frozen = torch.stack([place.recording.trajectory[block, row] for place, row in zip(places, kept, strict=True)])
    is_moving, is_read = (torch.tensor(at, device=device) for at in (moving, read))
    is_one = all(place.recording is first for place in places)
    call = first.calls[block]

    def updates(x: Float[Tensor, "g d"]) -> Float[Tensor, "g d"]:
        """f(X)_t as a function of x_s in each group."""
        stream = x[:, None] if r == 1 else frozen.index_put((each, is_moving), x)
        output = call.at(stream.reshape(1, groups * r, -1), rows.flatten())[0].reshape(groups, r, -1)
        return output[:, 0] - x if r == 1 else output[each, is_read]

    cut = Cut(tail, rows=[group * r + index for group, index in enumerate(read)])
    tapes = [first.tape] if is_one else [place.recording.tape for place in places]
    contexts = [
        attention.implementation(first.model, attention.NAME),
        attention.replaying_groups(tapes, block, rows),
        cutting(cut),
    ]
    with entered(contexts):
        return ManyJacobians(updates, frozen[each, is_moving], tokens=r, ends=cut.ends)


def _values_agree(many: ManyJacobians, places: Sequence[Place], block: int) -> bool:
    """Whether each update is that inside the model."""
    after = torch.stack([place.recording.trajectory[block + 1, place.output_token] for place in places])
    expected = after
    if len(places[0].rows) == 1:
        expected = after - torch.stack([place.recording.trajectory[block, place.token] for place in places])
    return close(many.value, expected, after)


def _derivatives_agree(many: ManyJacobians, places: Sequence[Place], block: int) -> bool:
    """Whether ``J^T u`` of the first and the last place are those of the places alone, with all others in the pass."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(many.value.shape, generator=generator, dtype=torch.float64).to(many.value)
    pulled = many.rmatvec(u)
    for index in (0, -1):
        place = places[index]
        alone = place.recording.jacobian(block, place.token, place.output_token)
        if not same_direction(pulled[index], alone.rmatmat(u[index][:, None])[:, 0]):
            return False
    return True


def same_calls(calls: Sequence[BlockCall]) -> bool:
    """Whether calls of a block have the same arguments beside the stream.

    The host waits once for the comparison of all tensors, and not for each of them.
    """
    first, pairs = calls[0], list[tuple[Tensor, Tensor]]()
    for call in calls[1:]:
        if (
            call.block is not first.block
            or call.packed != first.packed
            or call.names != first.names
            or call.length != first.length
            or not _same([first.arguments, first.keywords], [call.arguments, call.keywords], pairs)
        ):
            return False
    equal: dict[torch.device, list[Tensor]] = {}
    for a, b in pairs:
        equal.setdefault(a.device, []).append((a == b).all())
    return all(bool(torch.stack(found).all()) for found in equal.values())


def _same(a: Any, b: Any, pairs: list[tuple[Tensor, Tensor]]) -> bool:
    """Whether two arguments are equal, if the pairs of tensors that are added are.

    Objects of unknown kinds are only where they are the same object.
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        pairs.append((a, b))
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_same(one, other, pairs) for one, other in zip(a, b, strict=True))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key], pairs) for key in a)
    return isinstance(a, (bool, int, float, str)) and a == b
