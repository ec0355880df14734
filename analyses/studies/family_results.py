"""The results of the family: the table of its members, gathered from their folders, and what correlates in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.benchmark_scores import Scores
from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.models import SIZES, join_table
from coupling.analyses.correlation.small_models import BENCHMARKS, TABLE, TRAINING, family_table
from coupling.analyses.studies.family_members import MEMBER
from coupling.errors import CouplingError
from coupling.files import load_json, to_json, write_atomically

RESULT = "correlation.json"


def collect(names: Sequence[str], out: Path) -> dict[str, Any]:
    """Write the table of a finished family, and what correlates in it.

    Args:
        names: the members.
        out: the family's folder; ``small_models.csv`` and ``correlation.json`` are written there.

    Returns:
        What ``correlate`` returned.

    Raises:
        CouplingError: if a member is not finished.
    """
    write_atomically(out / TABLE, gather(names, out).to_csv(float_format="%.6g").encode())
    result = correlate(family_table(out / TABLE))
    write_atomically(out / RESULT, to_json(result))
    return result


def gather(names: Sequence[str], out: Path) -> pd.DataFrame:
    """One row per member: its training, its size, its benchmark scores and its measures.

    Args:
        names: the members.
        out: the family's folder.

    Raises:
        CouplingError: if a member is not finished.
    """
    index = pd.Index(names, name="model")
    records = [_record(out / name) for name in names]
    trained = pd.DataFrame([record["member"] for record in records], index=index)
    trained["seconds"] = [sum(record["seconds"].values()) for record in records]
    scores = Scores(
        benchmarks=pd.DataFrame([record["scores"] for record in records], index=index)[list(BENCHMARKS)],
        sizes=trained[["hidden"]].rename(columns={"hidden": "width"}).astype(float),
        families={name: "-".join(name.split("-")[:2]) for name in names},
        source=str(out),
    )
    runs = {str(out / name / "run"): name for name in names}
    table = join_table(list(runs), scores, aliases=runs)
    frame = trained[list(TRAINING)].join(table.frame.drop(columns="folder"))
    return frame[["family", *TRAINING, *SIZES, *table.benchmarks, *table.measures]]


def _record(folder: Path) -> dict[str, Any]:
    if not (folder / MEMBER).exists():
        raise CouplingError(f"{folder.parent} contains no finished member {folder.name}; run the command again")
    return load_json(folder / MEMBER)
