"""The small models that this project trained itself, as a table that comes with the package.

They are made by ``python -m coupling.analyses.studies.family``, which is not part of the installed package.
"""

import io
from importlib.resources import files
from pathlib import Path

import pandas as pd

from coupling.analyses.correlation.measures import default_measure, is_measure
from coupling.analyses.correlation.models import ModelTable
from coupling.errors import CouplingError

TABLE = "small_models.csv"

TRAINING = ("steps", "data_share", "seconds")
"""Columns that state how a model was trained and how long it took in all; neither measures nor benchmarks."""

BENCHMARKS = ("bits per byte", "next-token accuracy", "bracket", "indentation", "keyword argument", "exact match")


def family_table(path: Path | None = None) -> ModelTable:
    """The table of the small models.

    Args:
        path: a ``small_models.csv``; default: the one that comes with the package.

    Raises:
        CouplingError: if it cannot be read.

    Example:
        >>> len(family_table().frame)
        36
    """
    try:
        content = (path or files("coupling").joinpath("data", TABLE)).read_text(encoding="utf-8")
    except OSError as error:
        raise CouplingError(f"cannot read {path or TABLE}: {error.strerror or error}") from None
    frame = pd.read_csv(io.StringIO(content), index_col="model")
    measures = [name for name in frame.columns if is_measure(name)]
    source = (
        "small Llamas trained on the standard library's source; a family is one shape, trained four times; fewer bits "
        "per byte are better"
    )
    return ModelTable(
        frame,
        measures=measures,
        benchmarks=[name for name in BENCHMARKS if name in frame],
        primary=default_measure(frame, measures),
        notes=[source],
        controls=("steps", "data_share"),
        within="steps",
    )
