"""The tables that pictures are drawn from: which columns they have, and how they are read."""

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coupling.early import check_table
from coupling.errors import CouplingError, first_line
from coupling.untrusted import as_text, clean, expanded, quoted, read_bytes

NAMES = ("model", "group", "run", "k_label")
"""Columns that contain names; all others contain numbers."""
MOST_BYTES = 256 * 2**20
"""The most bytes of a table."""
MOST_LISTED = 10
"""Columns that an error message lists; further ones are counted."""


@dataclass(frozen=True)
class Columns:
    """The columns of a picture's table, each with its meaning. Other columns are ignored.

    Attributes:
        required: columns without which the picture cannot be drawn.
        optional: columns that add something to the picture.
    """

    required: dict[str, str]
    optional: dict[str, str]

    def check(self, table: pd.DataFrame, picture: str) -> pd.DataFrame:
        """A copy of the table with its numbers as numbers, infinite ones as NaN, and its names as text.

        Raises:
            CouplingError: if a column is missing, a value is not a number, or the table is empty.
        """
        missing = [name for name in self.required if name not in table.columns]
        if missing:
            raise CouplingError(
                f"the table of the picture {picture} lacks the column {', '.join(missing)}: it needs "
                f"{', '.join(self.required)}, and has {_listed(table.columns)}"
            )
        if table.empty:
            raise CouplingError(f"the table of the picture {picture} contains no rows")
        checked = table.copy()
        for name in (*self.required, *self.optional):
            if name in checked and name not in NAMES:
                checked[name] = _as_numbers(checked[name])
        for name in NAMES:
            if name in checked:
                checked[name] = checked[name].fillna("").astype(str)
        return checked


def _listed(names: Iterable[object]) -> str:
    """The first ``MOST_LISTED`` names, and how many more there are."""
    texts = [clean(name, 60) for name in names]
    n_more = len(texts) - MOST_LISTED
    return ", ".join(texts[:MOST_LISTED]) + (f" and {n_more} more" if n_more > 0 else "") or "none"


def _as_numbers(column: Any) -> pd.Series:
    numbers: Any = pd.to_numeric(column, errors="coerce")
    wrong = column.index[numbers.isna() & column.notna()]
    if len(wrong):
        raise CouplingError(
            f"column {clean(column.name, 60)} of the table contains {quoted(column[wrong[0]])}: not a number"
        )
    return numbers.replace([np.inf, -np.inf], np.nan)


DYNAMICS = Columns(
    {"model": "name of the model; one line per model", "step": "training step, from 0", "score": "coupling"},
    {
        "chance": "the score of random frames",
        "excess": "the share of the chance level's mismatch that is gone",
        "diagonal_share": "share of the captured energy that lies on the diagonal; 1 / K by chance",
        "aligned_energy": "share of the top K directions' energy that the other block's frames capture",
        "line_shape_score": "line-shape score, at least 1",
        "expodistance": "expodistance, at least 0",
        "residual_growth": "norm of the residual stream after the last block, relative to that before the first",
        "k": "number of top singular vectors; the picture shows one",
        "k_label": "how K was asked for, such as 10%",
        "norm": "p, 1 or 2; the picture shows one",
        "seed": "number of the seed; several seeds give the mean and a band from the lowest to the highest",
        "prompt": "number of the prompt; several prompts of one seed give the band",
    },
)
SCATTER = Columns(
    {"model": "name of the model", "score": "coupling", "benchmark": "benchmark score"},
    {
        "group": "where the point comes from; one color and mark per group",
        "width": "width of the residual stream, for the score against the width",
        "chance": "the score of random frames; a curve in the score against the width",
    },
)
RL = Columns(
    {"step": "optimization step", "reward": "mean reward"},
    {
        "ess": "normalized effective sample size of the ratios, in [0, 1]",
        "kl": "KL divergence from the behavior policy, in nats per token",
        "excess": "the share of the chance level's mismatch that is gone",
        "score": "coupling on the probe prompts",
        "chance": "the score of random frames",
        "mismatch_to_initial": "mean over blocks of the mismatch to the initial policy, which is 0 at the beginning",
        "run": "name of the run; one line per run",
        "seed": "number of the seed; several seeds give the mean and a band",
    },
)
TABLES = {"dynamics": DYNAMICS, "scatter": SCATTER, "rl": RL}
"""The columns of each picture of a table (``coupling.choices.TABLE_PICTURES``)."""


def read_tables(paths: Sequence[str | Path], picture: str) -> pd.DataFrame:
    """Read one or several CSV files as one table; for ``rl``, runs of the same name are distinguished by their folders.

    Args:
        paths: the files.
        picture: a key of ``TABLES``.

    Returns:
        The rows of all files, in order.

    Raises:
        CouplingError: see ``read_table``.
    """
    tables = [read_table(path, picture) for path in paths]
    if picture == "rl" and len(tables) > 1:
        tables = _with_distinct_runs(tables, _folder_names(paths))
    return pd.concat(tables, ignore_index=True)


def _folder_names(paths: Sequence[str | Path]) -> list[str]:
    """The name of the folder that each path is, or is in; the path itself if two of these names are equal."""
    resolved = [Path(path).resolve() for path in paths]
    names = [(path if path.is_dir() else path.parent).name for path in resolved]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _with_distinct_runs(tables: list[pd.DataFrame], names: list[str]) -> list[pd.DataFrame]:
    """The tables with a column ``run`` in which no two tables share a name."""
    tables = [table if "run" in table else table.assign(run=name) for table, name in zip(tables, names, strict=True)]
    runs = [run for table in tables for run in table["run"].unique()]
    if len(set(runs)) == len(runs):
        return tables
    return [table.assign(run=table["run"].astype(str) + f", {name}") for table, name in zip(tables, names, strict=True)]


def read_table(path: str | Path, picture: str) -> pd.DataFrame:
    """Read a CSV file and check its columns.

    Args:
        path: the file; for ``rl`` also the folder that ``coupling rl`` wrote.
        picture: a key of ``TABLES``.

    Returns:
        The table, with its numbers as numbers.

    Raises:
        CouplingError: if the file cannot be read, or does not contain what the picture needs.
    """
    path = expanded(path)
    if picture == "rl" and (path / "table.csv").is_file():
        path = path / "table.csv"
    check_table(path, picture)
    try:
        text = as_text(read_bytes(path, MOST_BYTES), path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            table = pd.read_csv(io.StringIO(text), skipinitialspace=True)
    except CouplingError:
        raise
    except (OSError, ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise CouplingError(f"{clean(path, 300)} cannot be read as a table: {clean(first_line(error), 200)}") from None
    try:
        return TABLES[picture].check(table.rename(columns=lambda name: str(name).strip()), picture)
    except CouplingError as error:
        raise CouplingError(f"{path}: {error}") from None
