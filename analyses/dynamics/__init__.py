"""Training dynamics: runs of many checkpoints as one table, and where in training a measure turns.

The names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.analyses.dynamics.names import Place, place_of
    from coupling.analyses.dynamics.table import checkpoint_runs, dynamics_table
    from coupling.analyses.dynamics.turning import turning_points

__all__ = ["Place", "checkpoint_runs", "dynamics_table", "place_of", "turning_points"]

_MODULES = {
    "Place": "names",
    "checkpoint_runs": "table",
    "dynamics_table": "table",
    "place_of": "names",
    "turning_points": "turning",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'coupling.analyses.dynamics' has no attribute {name!r}")
    return getattr(import_module(f"coupling.analyses.dynamics.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
