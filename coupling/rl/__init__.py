"""Reinforcement learning: the P3O objective, its trainer on TRL, and coupling tracked through any Trainer.

Names are imported when they are first used: the objective and the callback need no TRL.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coupling.errors import CouplingError

if TYPE_CHECKING:
    from coupling.rl.callback import CouplingCallback
    from coupling.rl.p3o import effective_sample_size, mixture_logprobs, p3o_loss, p3o_mixture_loss, ratio_statistics
    from coupling.rl.trainer import P3OConfig, P3OTrainer

_HOMES = {
    "CouplingCallback": "callback",
    "P3OConfig": "trainer",
    "P3OTrainer": "trainer",
    "effective_sample_size": "p3o",
    "mixture_logprobs": "p3o",
    "p3o_loss": "p3o",
    "p3o_mixture_loss": "p3o",
    "ratio_statistics": "p3o",
}

__all__ = [
    "CouplingCallback",
    "P3OConfig",
    "P3OTrainer",
    "effective_sample_size",
    "mixture_logprobs",
    "p3o_loss",
    "p3o_mixture_loss",
    "ratio_statistics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'coupling.rl' has no attribute {name!r}")
    try:
        module = import_module(f"coupling.rl.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("trl", "datasets"):
            raise
        raise CouplingError(
            f"coupling.rl.{name} needs {error.name}, which is not installed; install block-coupling[rl]"
        ) from None
    return getattr(module, name)
