"""Checkpoints are loaded as they are meant, or refused in one line."""

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from coupling.errors import CouplingError
from coupling.models.loading import BUNDLED, _is_unreachable, load


def test_the_bundled_checkpoint():
    checkpoint = load()
    assert checkpoint.name == BUNDLED
    assert checkpoint.context == 256
    assert not checkpoint.model.training
    assert not any(parameter.requires_grad for parameter in checkpoint.model.parameters())
    assert next(checkpoint.model.parameters()).dtype == torch.float32


def test_random_weights_leave_the_caller_s_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second = (load(random_weights=5).model.state_dict() for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": " "}, "the model's name is empty"),
        ({"dtype": "int8"}, "`dtype` is 'int8'"),
        ({"block_list": "model.block"}, "no list of modules named 'model.block'"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(CouplingError, match=message):
        load(**options)


def test_an_unreachable_hub_is_known_by_the_type_of_its_error():
    wrapped = OSError("some words")
    wrapped.__cause__ = LocalEntryNotFoundError("other words")
    assert _is_unreachable(wrapped)
    assert _is_unreachable(ConnectionResetError("reset"))
    assert not _is_unreachable(OSError("we could not connect to the connection"))
