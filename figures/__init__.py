"""Pictures of runs and of tables, each a function that returns a matplotlib Figure, and the report, an HTML page.

The functions are imported here at once: otherwise a module would hide the function of the same name.
"""

from coupling.figures.angles import angles
from coupling.figures.checkpoints import checkpoints
from coupling.figures.circle import circle
from coupling.figures.dynamics import dynamics
from coupling.figures.grid import grid
from coupling.figures.heatmap import heatmap
from coupling.figures.linearity import linearity
from coupling.figures.page.report import report
from coupling.figures.rl import rl
from coupling.figures.scatter import scatter
from coupling.figures.spectrum import spectrum
from coupling.figures.style import save
from coupling.figures.trajectory import trajectory

__all__ = [
    "angles",
    "checkpoints",
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
