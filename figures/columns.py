"""Tables that pictures are drawn from: their columns, and how they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from coupling.errors import CouplingError


@dataclass(frozen=True)
class Columns:
    """What a table holds: column names with what each means."""

    required: dict[str, str]
    optional: dict[str, str]
    texts: tuple[str, ...] = ("model", "group", "run")
    """Columns that are names; all others are numbers."""

    def check(self, table: pd.DataFrame, picture: str) -> pd.DataFrame:
        """The table with its numbers as numbers.

        Raises:
            CouplingError: if a column is missing, a number is none, or the table is empty.
        """
        missing = [name for name in self.required if name not in table.columns]
        if missing:
            raise CouplingError(
                f"the table of the picture {picture} lacks the column {', '.join(missing)}: it needs "
                f"{', '.join(self.required)}, and has {', '.join(map(str, table.columns)) or 'none'}"
            )
        if table.empty:
            raise CouplingError(f"the table of the picture {picture} holds no rows")
        checked = table.copy()
        for name in (*self.required, *self.optional):
            if name in self.texts or name not in checked:
                continue
            numbers = pd.to_numeric(checked[name], errors="coerce")
            wrong = checked.index[numbers.isna() & checked[name].notna()]
            if len(wrong):
                raise CouplingError(
                    f"column {name} of the table holds {str(checked[name][wrong[0]])!r}, which is no number"
                )
            checked[name] = numbers.replace([np.inf, -np.inf], np.nan)
        for name in self.texts:
            if name in checked:
                checked[name] = checked[name].fillna("").astype(str)
        return checked


DYNAMICS = Columns(
    {"model": "name of the model; a line each", "step": "training step, 0 and up", "score": "coupling"},
    {"chance": "the score of random frames", "prompt": "number of the prompt; a row each gives the band"},
)
SCATTER = Columns(
    {"model": "name of the model", "score": "coupling", "benchmark": "benchmark score"},
    {"group": "where the point comes from; a color and a mark each"},
)
RL = Columns(
    {"step": "optimization step", "reward": "mean reward"},
    {
        "ess": "normalized effective sample size of the ratios, in [0, 1]",
        "kl": "KL divergence from the behavior policy, in nats a token",
        "score": "coupling on the probe prompts",
        "chance": "the score of random frames",
        "mismatch_to_initial": "mean over blocks of the mismatch to the initial policy, 0 at first",
        "run": "name of the run; a line each",
        "seed": "number of the seed; several give the mean and a band",
    },
)
TABLES = {"dynamics": DYNAMICS, "scatter": SCATTER, "rl": RL}


def read_tables(paths: Sequence[str | Path], picture: str) -> pd.DataFrame:
    """Read one or several CSV files as one table; in ``rl``, runs of one name are told apart by their folders.

    Args:
        paths: the files.
        picture: a key of ``TABLES``.

    Raises:
        CouplingError: see ``read_table``.
    """
    tables = [read_table(path, picture) for path in paths]
    if picture == "rl" and len(tables) > 1:
        places = [Path(path).resolve() for path in paths]
        names = [(place if place.is_dir() else place.parent).name for place in places]
        if len(set(names)) < len(names):
            names = [str(path) for path in paths]
        tables = [table if "run" in table else table.assign(run=name)
                  for table, name in zip(tables, names, strict=True)]  # fmt: skip
        shared = [run for table in tables for run in table["run"].unique()]
        if len(set(shared)) < len(shared):
            tables = [table.assign(run=table["run"].astype(str) + f", {name}")
                      for table, name in zip(tables, names, strict=True)]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def read_table(path: str | Path, picture: str) -> pd.DataFrame:
    """Read a CSV file and check its columns.

    Args:
        path: the file; for ``rl`` also the folder that ``coupling rl`` made.
        picture: a key of ``TABLES``.

    Raises:
        CouplingError: if the file cannot be read or does not hold what the picture needs.
    """
    path = Path(path).expanduser()
    if picture == "rl" and (path / "table.csv").is_file():  # the folder of a run
        path = path / "table.csv"
    if path.is_dir():
        raise CouplingError(f"{path} is a folder; the picture {picture} is drawn from a .csv table")
    try:
        table = pd.read_csv(path, encoding="utf-8", skipinitialspace=True)
    except FileNotFoundError:
        raise CouplingError(f"there is no file {path}; the picture {picture} is drawn from a .csv table") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise CouplingError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None
    try:
        return TABLES[picture].check(table.rename(columns=lambda name: str(name).strip()), picture)
    except CouplingError as error:
        raise CouplingError(f"{path}: {error}") from None
