"""Does coupling correlate with benchmark scores? Matching models, statistics, published points.

Functions are imported when they are first used: reading and drawing scores needs no statistics package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.analyses.correlation.benchmark_scores import read_scores
    from coupling.analyses.correlation.correlate import correlate_runs
    from coupling.analyses.correlation.published import correlate_published
    from coupling.analyses.correlation.scatter import scatter_of_result, scatter_of_runs

_HOMES = {
    "correlate_published": "published",
    "correlate_runs": "correlate",
    "read_scores": "benchmark_scores",
    "scatter_of_result": "scatter",
    "scatter_of_runs": "scatter",
}
"""The module that defines each public function."""

__all__ = ["correlate_published", "correlate_runs", "read_scores", "scatter_of_result", "scatter_of_runs"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'coupling.analyses.correlation' has no attribute {name!r}")
    return getattr(import_module(f"coupling.analyses.correlation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
