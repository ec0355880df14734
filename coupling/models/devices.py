"""Which device a model is measured on."""

import torch

from coupling.errors import CouplingError, first_line
from coupling.untrusted import quoted


def resolve_device(device: str) -> str:
    """The name of a torch device; "auto" takes an accelerator if there is one that computes in float64.

    Raises:
        CouplingError: if torch does not know the device or cannot use it here.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator is not None and _problem(accelerator.type) is None else "cpu"
    problem = _problem(device)
    if problem is not None:
        raise CouplingError(f"`device` {quoted(device)} cannot be used here: {problem}")
    return device


def _problem(device: str) -> str | None:
    """Why a device cannot be used; None if it can."""
    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        return first_line(error)
    return None
