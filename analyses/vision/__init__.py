"""A study of small vision transformers: do stochastic depth and accuracy go with block coupling?

Run it as ``python -m coupling.analyses.vision --out FOLDER``. The names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coupling.analyses.vision.data import ImageData, cifar10, digits
    from coupling.analyses.vision.design import Training, trainings
    from coupling.analyses.vision.study import run_study

_MODULES = {
    "ImageData": "data",
    "Training": "design",
    "cifar10": "data",
    "digits": "data",
    "run_study": "study",
    "trainings": "design",
}

__all__ = ["ImageData", "Training", "cifar10", "digits", "run_study", "trainings"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'coupling.analyses.vision' has no attribute {name!r}")
    return getattr(import_module(f"coupling.analyses.vision.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
