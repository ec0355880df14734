"""Sweeps: many checkpoints, each measured as one task with one run, on one machine or on a cluster.

The names are imported when they are first used, so that rooms that only read a study import nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.analyses.sweep.driver import sweep
    from coupling.analyses.sweep.runs import runs_of
    from coupling.analyses.sweep.status import read_status
    from coupling.analyses.sweep.study import read_study

__all__ = ["read_status", "read_study", "runs_of", "sweep"]

_MODULES = {"read_status": "status", "read_study": "study", "runs_of": "runs", "sweep": "driver"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'coupling.analyses.sweep' has no attribute {name!r}")
    return getattr(import_module(f"coupling.analyses.sweep.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
