"""The table of a study, one row per task: made from the runs and the records, written as CSV and parquet."""

import io
import json
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from coupling.analyses.correlation.measures import OF_TOKENS, is_plain, largest_k, measure_name, measures_of
from coupling.analyses.sweep.records import DONE, Records, stamp_of
from coupling.analyses.sweep.study_folder import RUNS, StudyFolder
from coupling.choices import CALIBRATED
from coupling.dataset import DETAIL_VARIABLES
from coupling.errors import CouplingError, first_line
from coupling.files import write_atomically
from coupling.run_folder import open_run, read_summary

CSV, PARQUET = "index.csv", "index.parquet"
QUANTITIES = {"score": "coupling", "chance": "chance", "excess": "excess", "diagonal_share": "diagonal share"}
"""Columns at the largest K and p = 2, and the measures that they are; the last does not depend on p."""
TOKEN_COLUMNS = dict(zip(("line_shape_score", "expodistance", "growth"), OF_TOKENS, strict=True))
"""Columns that are medians over tokens, and the measures that they are."""
COLUMNS = (
    "task", "model", "revision", "step", "state", *QUANTITIES, *TOKEN_COLUMNS, "seconds", "attempts", "error", "folder",
)  # fmt: skip
"""The first columns of the table. Every plain measure follows under its own name, such as ``excess K=5 p=2``."""


def plain_measures(run: xr.Dataset) -> dict[str, float | None]:
    """The measures of a run that the table contains; None where one is not finite."""
    return {
        name: float(value) if np.isfinite(value) else None for name, value in measures_of(run).items() if is_plain(name)
    }


def make_index(folder: StudyFolder) -> pd.DataFrame:
    """The table of a study.

    Args:
        folder: the study's folder.

    Returns:
        One row per task, with the columns ``COLUMNS`` and those of the measures; NaN where a task is not done.
    """
    records = Records(folder)
    rows = []
    for task in folder.tasks():
        record = records.read(task.name)
        run = folder.run(task.name)
        row: dict[str, Any] = {
            "task": task.name,
            "model": task.model,
            "revision": task.revision,
            "step": task.step,
            "state": record.state,
            "seconds": round(record.seconds, 3) or None,
            "attempts": record.attempts,
            "error": record.error,
            "folder": f"{RUNS}/{task.name}",
        }
        if record.state == DONE:
            try:
                measures = record.measures
                if measures is None or record.stamp != stamp_of(run):
                    measures = plain_measures(open_run(run, without=DETAIL_VARIABLES))
                if row["seconds"] is None:  # the record was lost
                    timings = read_summary(run).get("timings", {})
                    row["seconds"] = sum(timings.get(key) or 0.0 for key in ("load_seconds", "measure_seconds"))
                row |= _columns(measures)
            except (CouplingError, OSError) as error:
                row["error"] = f"its run cannot be read: {first_line(error)}"
        rows.append(row)
    table = pd.DataFrame(rows)
    measured = [name for name in table.columns if name not in COLUMNS]
    table = table.reindex(columns=[*COLUMNS, *measured])
    table["step"] = table["step"].astype("Int64")
    numbers = [*QUANTITIES, *TOKEN_COLUMNS, "seconds", *measured]
    table[numbers] = table[numbers].astype(float)
    return table


def _columns(measures: dict[str, float | None]) -> dict[str, float | None]:
    """The columns of a finished run."""
    largest = largest_k(measures)
    chosen = {
        column: measures.get(measure_name(name, largest, None if name == CALIBRATED[0].label else 2))
        for column, name in QUANTITIES.items()
    }
    chosen |= {column: measures[name] for column, name in TOKEN_COLUMNS.items()}
    return chosen | {name: value for name, value in measures.items() if name not in OF_TOKENS}


def write_index(folder: StudyFolder) -> pd.DataFrame:
    """Make the table and write it, each file atomically; parquet where pyarrow is installed.

    Returns:
        The table.
    """
    table = make_index(folder)
    write_atomically(folder.folder / CSV, table.to_csv(index=False).encode())
    if find_spec("pyarrow") is not None:
        buffer = io.BytesIO()
        table.to_parquet(buffer, engine="pyarrow", index=False)
        write_atomically(folder.folder / PARQUET, buffer.getvalue())
    return table


def as_json(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows in a form that JSON keeps; None in place of NaN."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows
