"""Benchmark scores of models, from a CSV, lm-evaluation-harness results, the bundled leaderboard or a hub data set."""

import io
import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coupling.errors import CouplingError

LEADERBOARD = "leaderboard"
MODEL_COLUMNS = ("model", "model_name", "fullname")
FAMILY = "family"
SIZES = {
    "parameters": ("parameters", 1.0), "params_b": ("parameters", 1e9), "depth": ("depth", 1.0),
    "n_blocks": ("depth", 1.0), "width": ("width", 1.0), "hidden_size": ("width", 1.0),
}  # fmt: skip
"""Columns that are a model's size, not a benchmark: what they say, and their unit."""

OTHER = ("pretraining_tokens_t",)
"""Columns of the bundled tables that are neither."""


@dataclass
class Scores:
    """A table of benchmark scores.

    Attributes:
        benchmarks: a row a model (the index), a column a benchmark; NaN where there is no score.
        sizes: the same rows; those of parameters, depth and width that the source has.
        families: family by model, if the source has a column of them.
        source: what was read.
        notes: what was left out of it, and why.
    """

    benchmarks: pd.DataFrame
    sizes: pd.DataFrame
    families: dict[str, str]
    source: str
    notes: list[str] = field(default_factory=list)


def read_scores(source: str) -> Scores:
    """Scores from what a user names.

    Args:
        source: "leaderboard" for the bundled table; a CSV file; an lm-evaluation-harness results file (JSON) or a
            folder that holds some, at any depth; or a data set's id on the hub.

    Raises:
        CouplingError: if it is not there, cannot be read, or holds no scores.
    """
    if source == LEADERBOARD:
        return bundled_leaderboard()
    path = Path(source).expanduser()
    if path.is_dir() or (path.exists() and path.suffix.lower() == ".json"):
        from coupling.analyses.correlation.harness import read_harness

        return read_harness(path)
    if path.exists() or path.suffix.lower() in (".csv", ".json"):
        return read_csv(path)
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return read_hub(source)
    raise CouplingError(
        f"there are no scores in {source}; give a CSV file, lm-evaluation-harness results, {LEADERBOARD}, or a data "
        "set's id on the hub"
    )


def bundled_leaderboard() -> Scores:
    """The Open LLM Leaderboard v1's base models; its source is in ``coupling/data/README.md``."""
    content = files("coupling").joinpath("data/open_llm_leaderboard_v1_base.csv").read_bytes()
    return scores_from(_parse_csv(content, LEADERBOARD), "the bundled Open LLM Leaderboard v1")


def read_csv(path: Path) -> Scores:
    """A CSV file: a model column, any number of benchmark columns, and perhaps families and sizes.

    Raises:
        CouplingError: if it cannot be read; see also ``scores_from``.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CouplingError(f"cannot read the scores {path}: {error.strerror or error}") from None
    return scores_from(_parse_csv(content, str(path)), str(path))


def _parse_csv(content: bytes, source: str) -> pd.DataFrame:
    try:
        text = content.decode("utf-8-sig")
        table = pd.read_csv(io.StringIO(text), dtype=str, skipinitialspace=True, index_col=False)
        return table.loc[:, [not re.fullmatch(r"Unnamed: \d+", str(name)) for name in table.columns]]
    except (UnicodeDecodeError, ValueError, pd.errors.ParserError) as error:
        raise CouplingError(f"{source} cannot be read as CSV: {str(error).splitlines()[0]}") from None


def read_hub(name: str) -> Scores:
    """The first split of a data set on the hub, read as a CSV file would be.

    Raises:
        CouplingError: if it cannot be loaded; see also ``scores_from``.
    """
    from coupling.errors import first_line

    try:
        import datasets
    except ImportError:
        raise CouplingError(
            f"{name} is no file here; to read it as a data set: pip install 'block-coupling[datasets]'"
        ) from None
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name)
        frame = loaded[next(iter(loaded))].to_pandas()
    except Exception as error:  # whatever a loader raises, the user is told which data set it was
        raise CouplingError(
            f"{name} is no file here, and no data set that can be loaded: {first_line(error)}"
        ) from None
    return scores_from(frame, f"data set {name}")


def scores_from(frame: pd.DataFrame, source: str) -> Scores:
    """Sort a table's columns into model, family, sizes and benchmarks.

    Args:
        frame: any table with a column ``model``; its other columns numbers, or texts that are numbers.
        source: what it is called.

    Raises:
        CouplingError: if there is no model column, a model is missing or there twice, a score is no number, or no
            benchmark is there.
    """
    frame = frame.rename(columns=lambda name: str(name).strip())
    lower = {name.lower(): name for name in reversed(frame.columns)}
    key = next((lower[name] for name in MODEL_COLUMNS if name in lower), None)
    if key is None:
        raise CouplingError(
            f"{source} has no column named {' or '.join(MODEL_COLUMNS)}; its columns are {', '.join(frame.columns)}"
        )
    models = frame[key].astype("string").str.strip()
    if models.isna().any() or (models == "").any():
        row = int((models.isna() | (models == "")).to_numpy().argmax())
        raise CouplingError(f"row {row + 1} of {source} names no model")
    twice = models[models.duplicated()]
    if len(twice):
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(models == twice.iloc[0]))
        raise CouplingError(f"{source} has the model {twice.iloc[0]} in the rows {rows}; a model may have one")
    index = pd.Index(models.to_list(), name="model")
    benchmarks, sizes, notes = pd.DataFrame(index=index), pd.DataFrame(index=index), []
    families: dict[str, str] = {}
    for name in frame.columns:
        if name == key or name.lower() in OTHER:
            continue
        if name.lower() == FAMILY:
            known = frame[name].astype("string")
            families = {model: str(f) for model, f in zip(index, known, strict=True) if not pd.isna(f) and f.strip()}
            continue
        values = _numbers(frame[name], index, source)
        if values is None:
            notes.append(f"column {name} of {source} holds no number, and is left out")
        elif name.lower() in SIZES:
            size, unit = SIZES[name.lower()]
            sizes[size] = values * unit
        else:
            benchmarks[name] = values
    if benchmarks.empty or not len(benchmarks.columns):
        raise CouplingError(f"{source} has no benchmark: no column of numbers beside {key}")
    return Scores(benchmarks, sizes, families, source, notes)


def _numbers(column: pd.Series, models: pd.Index, source: str) -> np.ndarray | None:
    """A column as floats; None if none of it is a number, an error if only some of it is."""
    if pd.api.types.is_string_dtype(column):  # 45.2% is 45.2
        column = column.str.strip().str.removesuffix("%")
    values = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    if np.isnan(values).all() and column.notna().any():
        return None
    wrong = (np.isnan(values) & column.notna().to_numpy() & (column.astype(str).str.strip() != "").to_numpy()) | (
        np.isinf(values)
    )
    if wrong.any():
        row = int(wrong.argmax())
        given: Any = column.iloc[row]
        if not (isinstance(given, float) and np.isnan(given)):
            raise CouplingError(f"{source}: the {column.name} of {models[row]} is {given!r}, which is no finite number")
    return values
