"""The numerical context of every measurement: the caller's autocast and inference mode do not change the numbers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps")


@contextmanager
def exact_numerics() -> Iterator[None]:
    """A context without autocast and without inference mode; usable as a decorator.

    Inside ``torch.autocast`` matrix products would be computed in half precision, and inside
    ``torch.inference_mode`` nothing could be differentiated.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
