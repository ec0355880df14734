"""Pictures of runs and tables: each takes a Dataset or DataFrame and returns a matplotlib Figure; and the report.

The functions are imported here at once: a function named as its module would be hidden by it otherwise.
"""

from typing import Any

from coupling.figures.angles import angles
from coupling.figures.circle import circle
from coupling.figures.dynamics import dynamics
from coupling.figures.grid import grid
from coupling.figures.heatmap import heatmap
from coupling.figures.linearity import linearity
from coupling.figures.rl import rl
from coupling.figures.scatter import scatter
from coupling.figures.spectrum import spectrum
from coupling.figures.style import save
from coupling.figures.trajectory import trajectory

__all__ = [
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
    if name == "report":  # its libraries are not needed for pictures
        from coupling.figures.page.report import report

        return report
    raise AttributeError(f"module 'coupling.figures' has no attribute {name!r}")
