"""Benchmark scores of models, from a CSV, lm-evaluation-harness results, the bundled leaderboard or a hub data set."""

import io
import re
import warnings
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coupling.analyses.correlation.sources import LEADERBOARD, source_of
from coupling.errors import CouplingError, first_line, require
from coupling.untrusted import as_text, clean, quoted, read_bytes

MODEL_COLUMNS = ("model", "model_name", "fullname")
FAMILY_COLUMN = "family"
SIZE_COLUMNS = {
    "parameters": ("parameters", 1.0),
    "params_b": ("parameters", 1e9),
    "depth": ("depth", 1.0),
    "n_blocks": ("depth", 1.0),
    "width": ("width", 1.0),
    "hidden_size": ("width", 1.0),
}
"""Columns that are a model's size and not a benchmark: which size, and its unit."""

MOST_BYTES = 64 * 2**20
"""The most bytes of a CSV file."""
MOST_BENCHMARKS = 1000
"""The most benchmarks of one source."""
MOST_LISTED = 20
"""Columns that a message lists."""

OTHER_COLUMNS = ("pretraining_tokens_t",)
"""Columns of the bundled tables that are neither a size nor a benchmark."""


@dataclass
class Scores:
    """A table of benchmark scores.

    Attributes:
        benchmarks: one row per model (the index), one column per benchmark; NaN where there is no score.
        sizes: the same rows; those of parameters, depth and width that the source has.
        families: family by model, where the source has such a column.
        source: what was read.
        notes: what was left out of it, and why.
    """

    benchmarks: pd.DataFrame
    sizes: pd.DataFrame
    families: dict[str, str]
    source: str
    notes: list[str] = field(default_factory=list)


def read_scores(source: str) -> Scores:
    """Read benchmark scores from any of the sources that are understood.

    Args:
        source: "leaderboard" for the bundled table; a CSV file; an lm-evaluation-harness results file (JSON) or a
            folder that contains such files at any depth; or the id of a data set on the hub.

    Raises:
        CouplingError: if the source does not exist, cannot be read, or contains no scores.

    Example:
        >>> read_scores("leaderboard").benchmarks.shape
        (148, 7)
    """
    kind, path = source_of(source)
    if kind == "leaderboard":
        return bundled_leaderboard()
    if kind == "harness":
        from coupling.analyses.correlation.harness import read_harness

        return read_harness(path)
    return read_csv(path) if kind == "csv" else read_hub(source)


def bundled_leaderboard() -> Scores:
    """The base models of the Open LLM Leaderboard v1; ``coupling/data/README.md`` states the source."""
    content = files("coupling").joinpath("data/open_llm_leaderboard_v1_base.csv").read_bytes()
    return scores_from(_parse_csv(content, LEADERBOARD), "the bundled Open LLM Leaderboard v1")


def read_csv(path: Path) -> Scores:
    """Read a CSV file: a model column, any number of benchmark columns, and optionally families and sizes.

    Raises:
        CouplingError: if it cannot be read; see also ``scores_from``.
    """
    try:
        content = read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise CouplingError(f"cannot read the scores {clean(path, 300)}: {error.strerror or error}") from None
    return scores_from(_parse_csv(content, str(path)), str(path))


def _parse_csv(content: bytes, source: str) -> pd.DataFrame:
    try:
        text = as_text(content, "it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            table = pd.read_csv(io.StringIO(text), dtype=str, skipinitialspace=True, index_col=False)
    except (ValueError, pd.errors.ParserError, OverflowError) as error:
        raise CouplingError(f"{clean(source, 300)} cannot be read as CSV: {clean(first_line(error), 200)}") from None
    if len(table.columns) > MOST_BENCHMARKS:
        raise CouplingError(
            f"{clean(source, 300)} has {len(table.columns):,} columns, and at most {MOST_BENCHMARKS:,} are read"
        )
    return table.loc[:, [not re.fullmatch(r"Unnamed: \d+", str(name)) for name in table.columns]]


def read_hub(name: str) -> Scores:
    """Read the first split of a data set on the hub, with the same columns as a CSV file.

    Raises:
        CouplingError: if it cannot be loaded; see also ``scores_from``.
    """
    require("datasets", purpose=f"{name} is not a file here, and reading it as a data set of the hub")
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name)
        frame = loaded[next(iter(loaded))].to_pandas()
    except Exception as error:  # loaders raise errors of many types; the user learns which data set failed
        raise CouplingError(
            f"{clean(name, 300)} is not a file here, and not a data set that can be loaded: "
            f"{clean(first_line(error), 300)}"
        ) from None
    return scores_from(frame, f"data set {name}")


def scores_from(frame: pd.DataFrame, source: str) -> Scores:
    """Sort the columns of a table into model, family, sizes and benchmarks.

    Args:
        frame: any table with a column ``model``; its other columns are numbers, or texts that are numbers.
        source: what the table is called in messages.

    Raises:
        CouplingError: if the table does not have a column of models, a model is missing or occurs twice, a score is not
            a number, or the table does not have a benchmark.
    """
    frame = frame.rename(columns=lambda name: str(name).strip())
    model_column = _model_column(frame, source)
    models = _model_index(frame[model_column], source)
    scores = Scores(pd.DataFrame(index=models), pd.DataFrame(index=models), {}, source)
    for name in frame.columns:
        kind = name.lower()
        if name == model_column or kind in OTHER_COLUMNS:
            continue
        if kind == FAMILY_COLUMN:
            scores.families = _families(frame[name], models)
            continue
        values = _numbers(frame[name], models, source)
        if values is None:
            scores.notes.append(f"column {name} of {source} contains no number, and is left out")
        elif kind in SIZE_COLUMNS:
            size, unit = SIZE_COLUMNS[kind]
            scores.sizes[size] = values * unit
        else:
            scores.benchmarks[name] = values
    if scores.benchmarks.empty or not len(scores.benchmarks.columns):
        raise CouplingError(f"{source} has no benchmark: no column of numbers beside {model_column}")
    return scores


def _model_column(frame: pd.DataFrame, source: str) -> str:
    by_lower = {name.lower(): name for name in reversed(frame.columns)}
    column = next((by_lower[name] for name in MODEL_COLUMNS if name in by_lower), None)
    if column is None:
        listed = ", ".join(clean(name, 60) for name in frame.columns[:MOST_LISTED])
        more = f" and {len(frame.columns) - MOST_LISTED} more" if len(frame.columns) > MOST_LISTED else ""
        raise CouplingError(
            f"{source} has no column named {' or '.join(MODEL_COLUMNS)}; its columns are {listed}{more}"
        )
    return str(column)


def _model_index(column: pd.Series, source: str) -> pd.Index:
    """The names of the models, none missing and each only once."""
    models = column.astype("string").str.strip()
    if models.isna().any() or (models == "").any():
        row = int((models.isna() | (models == "")).to_numpy().argmax())
        raise CouplingError(f"row {row + 1} of {source} names no model")
    repeated = models[models.duplicated()]
    if len(repeated):
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(models == repeated.iloc[0]))
        raise CouplingError(
            f"{source} has the model {clean(repeated.iloc[0], 200)} in the rows {clean(rows, 100)}; keep one row per "
            "model"
        )
    return pd.Index(models.to_list(), name="model")


def _families(column: pd.Series, models: pd.Index) -> dict[str, str]:
    names = column.astype("string")
    return {
        model: str(family)
        for model, family in zip(models, names, strict=True)
        if not pd.isna(family) and family.strip()
    }


def _numbers(column: pd.Series, models: pd.Index, source: str) -> np.ndarray | None:
    """A column as floats; None if none of its values is a number, an error if only some are."""
    if pd.api.types.is_string_dtype(column):  # 45.2% is 45.2
        column = column.str.strip().str.removesuffix("%")
    values = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    if np.isnan(values).all() and column.notna().any():
        return None
    is_text = np.isnan(values) & column.notna().to_numpy() & (column.astype(str).str.strip() != "").to_numpy()
    wrong = is_text | np.isinf(values)
    if wrong.any():
        row = int(wrong.argmax())
        given: Any = column.iloc[row]
        if not (isinstance(given, float) and np.isnan(given)):
            raise CouplingError(
                f"{source}: the {clean(column.name, 100)} of {clean(models[row], 100)} is "
                f"{quoted(given)}, which is not a finite number"
            )
    return values
