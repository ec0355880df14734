"""block-coupling: measure how a transformer's blocks share their top singular vectors.

Names are imported when they are first used, so that ``import coupling`` and the command line's help are instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.analysis import analyze
    from coupling.blocks import find_blocks
    from coupling.errors import CouplingError
    from coupling.jacobian import BlockJacobian
    from coupling.measurement import measure
    from coupling.metrics import chance_mismatch, excess, expodistance, line_shape_score, mismatch, pair_mismatch
    from coupling.scores import chance_score, score
    from coupling.store import open_run
    from coupling.summary import compare_runs, summarize
    from coupling.svd import top_singular_triplets
    from coupling.trajectory import Recording, record
    from coupling.version import __version__

_HOMES = {
    "BlockJacobian": "jacobian",
    "CouplingError": "errors",
    "Recording": "trajectory",
    "__version__": "version",
    "analyze": "analysis",
    "chance_mismatch": "metrics",
    "chance_score": "scores",
    "compare_runs": "summary",
    "excess": "metrics",
    "expodistance": "metrics",
    "find_blocks": "blocks",
    "line_shape_score": "metrics",
    "measure": "measurement",
    "mismatch": "metrics",
    "open_run": "store",
    "pair_mismatch": "metrics",
    "record": "trajectory",
    "score": "scores",
    "summarize": "summary",
    "top_singular_triplets": "svd",
}

__all__ = [
    "BlockJacobian",
    "CouplingError",
    "Recording",
    "__version__",
    "analyze",
    "chance_mismatch",
    "chance_score",
    "compare_runs",
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'coupling' has no attribute {name!r}")
    return getattr(import_module(f"coupling.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
