"""Reinforcement learning: the P3O objective, its trainer on TRL, and coupling tracked through any Trainer.

Names are imported when they are first used. The objective and the callback do not need TRL.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coupling.errors import EXTRAS, missing_extra

if TYPE_CHECKING:
    from coupling.rl.async_trainer import AsyncP3OConfig, AsyncP3OTrainer
    from coupling.rl.config import P3OConfig
    from coupling.rl.ess_logging import EssLogging
    from coupling.rl.p3o import effective_sample_size, mixture_logprobs, p3o_loss, p3o_mixture_loss, ratio_statistics
    from coupling.rl.trainer import P3OTrainer, P4OTrainer
    from coupling.training.callback import CouplingCallback

_HOMES = {
    "AsyncP3OConfig": "coupling.rl.async_trainer",
    "AsyncP3OTrainer": "coupling.rl.async_trainer",
    "CouplingCallback": "coupling.training.callback",
    "EssLogging": "coupling.rl.ess_logging",
    "P3OConfig": "coupling.rl.config",
    "P3OTrainer": "coupling.rl.trainer",
    "P4OTrainer": "coupling.rl.trainer",
    "effective_sample_size": "coupling.rl.p3o",
    "mixture_logprobs": "coupling.rl.p3o",
    "p3o_loss": "coupling.rl.p3o",
    "p3o_mixture_loss": "coupling.rl.p3o",
    "ratio_statistics": "coupling.rl.p3o",
}
"""The module that defines each public name."""

__all__ = [
    "AsyncP3OConfig",
    "AsyncP3OTrainer",
    "CouplingCallback",
    "EssLogging",
    "P3OConfig",
    "P3OTrainer",
    "P4OTrainer",
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
        module = import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise missing_extra(error.name, f"coupling.rl.{name}") from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
