"""What a device has to do, without one: tensors without numbers, on which no operation can fall back to the CPU.

The model and what was recorded of a prompt are moved to torch's "meta" device, where every operation only computes
shapes. An operation on tensors of two devices fails there, and so does every copy to the host, and every number that
the host asks for and that is not one of those that the checks of a pass are known to ask for.
"""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import coupling
from coupling.linalg.batched import factor_dense
from coupling.linalg.jacobian import PASS_MEMORY, DenseJacobian, ManyJacobians
from coupling.linalg.pairwise import Frames, project
from coupling.models import heads
from coupling.models.together import Place, dense_together
from tests.helpers import make_ids, make_model

# not those with experts: transformers routes tokens by torch.nonzero
ARCHITECTURES = ("gpt2", "llama", "gemma2", "gemma3", "gpt_neox", "bert")


class Checks(TorchFunctionMode):
    """Answers the questions that the checks of a pass ask of tensors without numbers, and counts them."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function in (Tensor.__bool__, torch.equal):
            self.asked += 1
            return True
        return function(*arguments, **(keywords or {}))


class Waits(TorchDispatchMode):
    """Counts the operations that make the host wait for a device: numbers that it asks for, and shapes of results."""

    ASKING = (
        torch.ops.aten._local_scalar_dense,
        torch.ops.aten.nonzero,
        torch.ops.aten.equal,
        torch.ops.aten.masked_select,
        torch.ops.aten.unique_dim,
        torch.ops.aten._unique2,
    )

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += function._overloadpacket in self.ASKING
        return function(*arguments, **(keywords or {}))


def without_numbers(value):
    """A recording, or a part of it, on the meta device."""
    if isinstance(value, Tensor):
        return value.detach().to("meta")
    if is_dataclass(value):
        return replace(value, **{field.name: without_numbers(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, (list, tuple, dict)):
        return tree_map(lambda x: x if x is value else without_numbers(x), value)
    return value


def on_meta(name, prompts=1):
    """Recordings of a model on the meta device; what is known of its blocks was found out before."""
    model = make_model(name)
    recordings = [coupling.record(model, {"input_ids": make_ids(seed)}) for seed in range(prompts)]
    for rows in (1, 2):  # the first passes compare derivatives
        for block in range(3):
            dense_together([Place(recordings[0], t, t + rows - 1) for t in range(2)], block)
    assert recordings[0].token_local
    model.to("meta")
    moved = []
    for recording in recordings:
        calls = [
            replace(call, arguments=without_numbers(call.arguments), keywords=without_numbers(call.keywords))
            for call in recording.calls
        ]
        tape = replace(
            recording.tape, attended={place: without_numbers(seen) for place, seen in recording.tape.attended.items()}
        )
        moved.append(replace(recording, trajectory=recording.trajectory.to("meta"), calls=calls, tape=tape))
    return moved


@pytest.mark.parametrize("by_heads", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_jacobian_is_made_on_the_device_without_a_question(name, by_heads, monkeypatch):
    if by_heads:  # these models are so narrow that nothing is saved
        monkeypatch.setattr(heads, "SMALLEST_SAVING", float("-inf"))
    (recording,) = on_meta(name)
    with Checks():
        jacobian = recording.jacobian(1, 5)
    assert jacobian.replay == "token-local"
    assert (jacobian._joint is not None) == by_heads
    # without answers: a question would fail here
    for matrix in (
        jacobian.to_dense(),
        jacobian.matmat(torch.zeros(32, 3)),
        jacobian.rmatmat(torch.zeros(32, 3)),
    ):
        assert matrix.device.type == "meta"


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["prompts", "self", "context-input", "context-output"])
def test_many_jacobians_ask_as_often_as_two(name, kind, monkeypatch):
    """The checks are of a pass, and not of each Jacobian in it; forming the matrices asks nothing."""
    recordings = on_meta(name, prompts=4)
    places = {
        "prompts": [Place(recording, 5, 5) for recording in recordings],
        "self": [Place(recordings[0], t, t) for t in (1, 3, 5, 7)],
        "context-input": [Place(recordings[0], 1, t) for t in (3, 5, 7, 9)],
        "context-output": [Place(recordings[0], t, 9) for t in (1, 3, 5, 7)],
    }[kind]
    asked_inside = []
    to_dense = ManyJacobians.to_dense
    asked = []
    for count in (2, 4):
        with Checks() as checks:

            def counted(self, checks=checks):
                before = checks.asked
                matrices = to_dense(self)
                asked_inside.append(checks.asked - before)
                return matrices

            monkeypatch.setattr(ManyJacobians, "to_dense", counted)
            matrices = dense_together(places[:count], 1)
        assert matrices is not None
        assert (matrices.shape, matrices.device.type) == ((count, 32, 32), "meta")
        asked.append(checks.asked)
    assert asked[0] == asked[1] > 0
    assert asked_inside == [0, 0]


def test_a_smaller_memory_budget_asks_no_more():
    """It splits the pass back into more parts, and each of them asks nothing."""
    (recording,) = on_meta("llama")
    places = [Place(recording, t, t) for t in (1, 3, 5)]
    asked = []
    for memory in (PASS_MEMORY, PASS_MEMORY // 2**12):
        with Checks() as checks:
            assert dense_together(places, 1, memory) is not None
        asked.append(checks.asked)
    assert asked[0] == asked[1]


def test_the_host_waits_once_for_a_batch_of_matrices_and_not_for_each():
    """Small matrices are factored together; the waits are those of one batch, whatever its size and K."""
    generator = torch.Generator().manual_seed(0)
    counts = {}
    for groups, k in ((2, 3), (9, 3), (9, 7)):
        matrices = torch.randn(groups, 40, 40, generator=generator)
        factor_dense(matrices, k)  # random probes are drawn once
        with Waits() as waits:
            found = factor_dense(matrices, k)
        assert all(item is not None for item in found)
        counts[groups, k] = waits.count
    assert len(set(counts.values())) == 1


def test_products_with_many_frames_wait_as_often_as_with_one():
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(6, 40, 40, generator=generator)
    found = factor_dense(matrices, 3)
    counts = []
    for others in (1, 6):
        frames = Frames.of(found[:others])
        with Waits() as waits:
            project(DenseJacobian(matrices[0]), frames)
        counts.append(waits.count)
    assert counts == [0, 0]
