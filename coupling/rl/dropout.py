"""Dropout, which is noise in log-probabilities: whether a model has any, and how to compute without it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def has_dropout(model: nn.Module) -> bool:
    """Whether a model drops anything while it trains: by a layer (as LoRA's dropout does) or by a module's own rate.

    Attention modules of transformers have no layer for it but a number, such as ``attention_dropout``.

    Example:
        >>> has_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))), has_dropout(nn.Dropout(0.0))
        (True, False)
    """
    return any(_drops(module) for module in model.modules())


def _drops(module: nn.Module) -> bool:
    """Whether a module itself drops anything, apart from its submodules."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return any("drop" in name and isinstance(value, float) and value > 0 for name, value in vars(module).items())


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """A context in which a model computes as in evaluation; then every module is in its former mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
