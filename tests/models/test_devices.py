"""Devices are resolved, or refused with torch's reason."""

import pytest
import torch

from coupling.errors import CouplingError
from coupling.models.devices import resolve_device


def test_auto_is_an_accelerator_or_the_cpu():
    available = torch.accelerator.current_accelerator(check_available=True)
    expected = "cpu" if available is None or available.type == "mps" else available.type
    assert resolve_device("auto") == expected
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["meta", "abacus", "cuda:99"])
def test_a_device_that_cannot_be_used_is_refused(device):
    with pytest.raises(CouplingError, match=f"`device` '{device}' cannot be used here: ."):
        resolve_device(device)
