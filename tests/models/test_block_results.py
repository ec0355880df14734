"""What blocks returned, saved and given back; and whether a block changed what it was given."""

import torch

from coupling.models.block_results import arguments_state, packed, unpacked


def test_results_come_back_as_they_were():
    a, b = torch.ones(2), torch.zeros(3)
    for result in (a, (a, None), [a, (None, b), []], (a, [b, a])):
        structure, tensors = packed(result)
        again = unpacked(structure, tensors)
        assert type(again) is type(result)
        assert packed(again)[0] == structure
        assert all(x is y or torch.equal(x, y) for x, y in zip(packed(again)[1], tensors, strict=True))


def test_other_structures_are_not_packed():
    assert packed({"a": torch.ones(1)}) is None
    assert packed((torch.ones(1), 3)) is None


def test_changes_of_arguments_are_seen():
    tensor, shared = torch.ones(2), {}
    arguments = ((tensor, None, 3), {"shared": shared})
    before = arguments_state(arguments)
    assert before == arguments_state(arguments)
    tensor.add_(1)
    assert before != arguments_state(arguments)
    before = arguments_state(arguments)
    shared["key"] = tensor
    assert before != arguments_state(arguments)
    assert arguments_state((tensor, object())) is None
    assert arguments_state({"a": object()}) is None
