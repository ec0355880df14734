"""The table of the family of small models: gathered from their folders, or as it comes with the package."""

import io
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.benchmark_scores import Scores
from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.models import SIZES, Table, default_measure, join_table
from coupling.errors import CouplingError
from coupling.files import write_atomically

TABLE, RESULT, MEMBER = "family.csv", "correlation.json", "member.json"
TRAINING = ("steps", "weight_decay", "data_share", "seconds")
"""Columns that say how a member was trained, and how long it took in all; neither measure nor benchmark."""

BENCHMARKS = ("bits per byte", "next-token accuracy", "bracket", "indentation", "keyword argument", "exact match")
MEASURE = re.compile(r"(?:coupling|excess|chance) K=\d+ p=[12]( \w+)*|line-shape score|expodistance|residual growth")


def collect(names: Sequence[str], out: Path) -> dict[str, Any]:
    """Write the table of a finished family, and what correlates in it.

    Args:
        names: the members.
        out: the family's folder; ``family.csv`` and ``correlation.json`` are written there.

    Returns:
        What ``correlate`` returned.

    Raises:
        CouplingError: if a member is not finished.
    """
    known = {}
    for name in names:
        try:
            known[name] = json.loads((out / name / MEMBER).read_text(encoding="utf-8"))
        except OSError:
            raise CouplingError(f"{out} holds no finished member {name}; run the command again") from None
    index = pd.Index(names, name="model")
    trained = pd.DataFrame([known[name]["member"] for name in names], index=index)
    trained["seconds"] = [sum(known[name]["seconds"].values()) for name in names]
    scores = Scores(
        benchmarks=pd.DataFrame([known[name]["scores"] for name in names], index=index)[list(BENCHMARKS)],
        sizes=trained[["hidden"]].rename(columns={"hidden": "width"}).astype(float),
        families={name: name.rsplit("-", 1)[0] for name in names},
        source=str(out),
    )
    runs = {str(out / name / "run"): name for name in names}
    table = join_table(list(runs), scores, runs)
    frame = trained[list(TRAINING)].join(table.frame.drop(columns="folder"))
    columns = ["family", *TRAINING, *SIZES, *table.benchmarks, *table.measures]
    write_atomically(out / TABLE, frame[columns].to_csv(float_format="%.6g").encode())
    result = correlate(family_table(out / TABLE))
    write_atomically(out / RESULT, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
    return result


def family_table(path: Path | None = None) -> Table:
    """The family's table.

    Args:
        path: a ``family.csv``; default: the one that comes with the package.

    Raises:
        CouplingError: if it cannot be read.
    """
    try:
        content = (path or files("coupling").joinpath("data/small_models.csv")).read_text(encoding="utf-8")
    except OSError as error:
        raise CouplingError(f"cannot read {path or TABLE}: {error.strerror or error}") from None
    frame = pd.read_csv(io.StringIO(content), index_col="model")
    measures = [name for name in frame.columns if MEASURE.fullmatch(name)]
    benchmarks = [name for name in BENCHMARKS if name in frame]
    return Table(frame, measures, benchmarks, default_measure(frame, measures), notes=[
        "small Llamas trained on the standard library's source by python -m coupling.analyses.family; families are "
        "shapes, three trainings each; fewer bits per byte are better",
    ], controls=("steps",), within="steps")  # fmt: skip
