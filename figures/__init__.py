"""Pictures of runs and tables: each takes a Dataset or DataFrame and returns a matplotlib Figure.

Names are imported when they are first used, so that the command line's help is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.figures.angles import angles
    from coupling.figures.circle import circle
    from coupling.figures.dynamics import dynamics
    from coupling.figures.grid import grid
    from coupling.figures.heatmap import heatmap
    from coupling.figures.linearity import linearity
    from coupling.figures.report import report
    from coupling.figures.rl import rl
    from coupling.figures.scatter import scatter
    from coupling.figures.spectrum import spectrum
    from coupling.figures.style import save
    from coupling.figures.trajectory import trajectory

RUN_KINDS = ("grid", "heatmap", "circle", "trajectory", "spectrum", "linearity", "angles")
TABLE_KINDS = ("dynamics", "scatter", "rl")
KINDS = RUN_KINDS + TABLE_KINDS

_HOMES = {kind: kind for kind in KINDS} | {"save": "style", "report": "report"}

__all__ = [
    "KINDS",
    "RUN_KINDS",
    "TABLE_KINDS",
    "angles",
    "circle",
    "dynamics",
    "grid",
    "heatmap",
    "linearity",
    "report",
    "rl",
    "save",
    "scatter",
    "spectrum",
    "trajectory",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'coupling.figures' has no attribute {name!r}")
    value = getattr(import_module(f"coupling.figures.{_HOMES[name]}"), name)
    globals()[name] = value  # a submodule of the same name would hide it otherwise
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
