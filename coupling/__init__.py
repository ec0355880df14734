"""block-coupling: measure how a transformer's blocks share their top singular vectors."""

from coupling.analyze import analyze
from coupling.blocks import find_blocks
from coupling.errors import CouplingError
from coupling.jacobian import BlockJacobian
from coupling.measure import chance_score, measure, score
from coupling.metrics import chance_mismatch, excess, expodistance, line_shape_score, mismatch, pair_mismatch
from coupling.store import open_run
from coupling.summary import summarize
from coupling.svd import top_singular_triplets
from coupling.trajectory import Recording, record
from coupling.version import __version__

__all__ = [
    "BlockJacobian",
    "CouplingError",
    "Recording",
    "__version__",
    "analyze",
    "chance_mismatch",
    "chance_score",
    "excess",
    "expodistance",
    "find_blocks",
    "line_shape_score",
    "measure",
    "mismatch",
    "open_run",
    "pair_mismatch",
    "record",
    "score",
    "summarize",
    "top_singular_triplets",
]
