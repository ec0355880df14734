"""block-coupling: measure how a transformer's blocks share their top singular vectors.

Names are imported when they are first used, so that ``import coupling`` and the command line's help are instant. The
parts ``coupling.figures``, ``coupling.analyses``, ``coupling.rl`` and ``coupling.training`` can be used after
``import coupling`` as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling import analyses, figures, rl, training
    from coupling.calibrated import calibrated_score
    from coupling.dataset import per_prompt
    from coupling.errors import CouplingError
    from coupling.linalg.jacobian import BlockJacobian
    from coupling.linalg.svd import SingularTriplets, top_singular_triplets
    from coupling.measured_inputs import measure
    from coupling.metrics import (
        JacobianMoments,
        chance_mismatch,
        expodistance,
        line_shape_score,
        mismatch,
        pair_mismatch,
    )
    from coupling.models.blocks import find_blocks
    from coupling.models.recording import Recording, record
    from coupling.pipeline import analyze
    from coupling.readout import directions
    from coupling.run_folder import open_run
    from coupling.scores import chance_score, excess, score
    from coupling.settings import Settings
    from coupling.sinks import first_token_dominance
    from coupling.summary import compare_runs, summarize
    from coupling.tables import run_table
    from coupling.version import __version__

_HOMES = {
    "BlockJacobian": "linalg.jacobian",
    "CouplingError": "errors",
    "JacobianMoments": "metrics",
    "Recording": "models.recording",
    "Settings": "settings",
    "SingularTriplets": "linalg.svd",
    "__version__": "version",
    "analyze": "pipeline",
    "calibrated_score": "calibrated",
    "chance_mismatch": "metrics",
    "chance_score": "scores",
    "compare_runs": "summary",
    "directions": "readout",
    "excess": "scores",
    "expodistance": "metrics",
    "find_blocks": "models.blocks",
    "first_token_dominance": "sinks",
    "line_shape_score": "metrics",
    "measure": "measured_inputs",
    "mismatch": "metrics",
    "open_run": "run_folder",
    "pair_mismatch": "metrics",
    "per_prompt": "dataset",
    "record": "models.recording",
    "run_table": "tables",
    "score": "scores",
    "summarize": "summary",
    "top_singular_triplets": "linalg.svd",
}
"""The module that defines each public name."""
_PARTS = ("analyses", "figures", "rl", "training")

__all__ = [
    "BlockJacobian",
    "CouplingError",
    "JacobianMoments",
    "Recording",
    "Settings",
    "SingularTriplets",
    "__version__",
    "analyses",
    "analyze",
    "calibrated_score",
    "chance_mismatch",
    "chance_score",
    "compare_runs",
    "directions",
    "excess",
    "expodistance",
    "figures",
    "find_blocks",
    "first_token_dominance",
    "line_shape_score",
    "measure",
    "mismatch",
    "open_run",
    "pair_mismatch",
    "per_prompt",
    "record",
    "rl",
    "run_table",
    "score",
    "summarize",
    "top_singular_triplets",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"coupling.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'coupling' has no attribute {name!r}")
    return getattr(import_module(f"coupling.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
