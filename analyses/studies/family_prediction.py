r"""Do measures of coupling predict models of shapes that were held out? A test on the table of small models.

Run it as ``python -m coupling.analyses.studies.family_prediction --out FOLDER``. For each shape in turn, a regression
on the models of all other shapes predicts the benchmark of its models. It is judged by

.. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y_{-f(i)})^2}

where the mean is that of the other shapes, which is what one would predict without any measure. It is 0 where a
regression is of no use, and negative where it misleads.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from coupling.analyses.correlation.models import ModelTable
from coupling.analyses.correlation.small_models import family_table
from coupling.files import write_atomically
from coupling.programs import errors_in_one_line

TABLE = "family-held-out.csv"
"""The file."""
BENCHMARKS = ("bits per byte", "exact match")
KNOWN: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "size": ("log parameters",),
    "size and training": ("log parameters", "log steps", "log data_share"),
}
"""What is known of a model beside a measure."""
MEASURES = (
    "excess K=10 p=2", "coupling K=10 p=1", "chance K=10 p=1", "coupling K=10% p=1", "diagonal share K=10",
    "aligned energy K=10", "line-shape score", "held-out loss", "effective rank", "non-normality", "prompt entropy",
    "curvature", "spectral norm", "spectral exponent",
)  # fmt: skip


def held_out_r2(
    predictors: Float[np.ndarray, "n p"], target: Float[np.ndarray, " n"], families: Sequence[str]
) -> float:
    """R² of predictions of each family by a regression with intercept on all others, against the others' mean.

    Args:
        predictors: one row per model; there may be none (p = 0).
        target: what is predicted.
        families: the family of each model.

    Returns:
        At most 1, no unit.
    """
    names = np.asarray(families)
    design = np.column_stack([np.ones(len(target)), predictors])
    errors, spreads = np.empty(len(target)), np.empty(len(target))
    for name in dict.fromkeys(names.tolist()):
        held = names == name
        weights = np.linalg.lstsq(design[~held], target[~held], rcond=None)[0]
        errors[held] = target[held] - design[held] @ weights
        spreads[held] = target[held] - target[~held].mean()
    return float(1 - (errors**2).sum() / (spreads**2).sum())


def prediction_table(table: ModelTable) -> pd.DataFrame:
    """The held-out R² of every measure, alone and beside what is known of a model; the first row has no measure.

    Args:
        table: the small models.
    """
    frame = table.frame.copy().assign(
        **{
            "log parameters": np.log(table.frame["parameters"]),
            "log steps": np.log(table.frame["steps"]),
            "log data_share": np.log(table.frame["data_share"]),
        }
    )
    families = frame["family"].tolist()
    rows = []
    for benchmark in BENCHMARKS:
        target = frame[benchmark].to_numpy(float)
        for measure in ("", *(name for name in MEASURES if name in frame)):
            row: dict[str, object] = {"benchmark": benchmark, "measure": measure or "none"}
            for known, columns in KNOWN.items():
                chosen = [*columns, *([measure] if measure else [])]
                row[known] = held_out_r2(frame[chosen].to_numpy(float), target, families)
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the table")
    out: Path = parser.parse_args().out
    with errors_in_one_line():
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / TABLE, prediction_table(family_table()).round(6).to_csv(index=False).encode())
    print(out / TABLE)


if __name__ == "__main__":
    main()
