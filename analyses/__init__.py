"""Questions asked of runs: correlation, dynamics, sweeps, vision transformers, the engine of RL, and studies.

The parts are imported when they are first used, so that ``coupling.analyses.correlation`` works after
``import coupling`` and nothing heavy is imported before. The studies are not part of the installed package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.analyses import correlation, dynamics, rl, sweep, vision

__all__ = ["correlation", "dynamics", "rl", "sweep", "vision"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'coupling.analyses' has no attribute {name!r}")
    return import_module(f"coupling.analyses.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
