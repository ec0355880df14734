"""What a p = 1 score is made of: K swept at one model, and width swept with all else fixed.

Run it as ``python -m coupling.analyses.studies.p1_artefact --out FOLDER``. It measures the bundled checkpoint at many
K, trained and with random weights, and takes the widths from the table of small models, whose members differ in nothing
but their width within each group of equal depth, steps and data.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import coupling
from coupling.analyses.correlation.small_models import family_table
from coupling.files import write_atomically
from coupling.programs import errors_in_one_line

KS = (1, 2, 5, 10, 20, 40, 80)
LIMIT = 8
"""Prompts of the sweep of K."""
BY_K, BY_WIDTH = "p1-by-k.csv", "p1-by-width.csv"
"""The files."""
GROUPS = ["depth", "steps", "data_share"]
WIDTH_COLUMNS = (
    "coupling K=10 p=1",
    "chance K=10 p=1",
    "coupling K=10% p=1",
    "chance K=10% p=1",
    "diagonal share K=10",
)


def sweep_k(limit: int = LIMIT, ks: tuple[int, ...] = KS) -> pd.DataFrame:
    """The score and chance at p = 1 and the diagonal share of the bundled checkpoint, by K and weights.

    Args:
        limit: number of prompts.
        ks: every K.
    """
    rows: list[dict[str, Any]] = []
    for weights in ("trained", "random"):
        run = coupling.analyze(k=ks, limit=limit, random_weights=weights == "random", detail="none")
        for k in ks:
            share = coupling.calibrated_score(run, "diagonal_share", k)
            rows.append(
                {
                    "weights": weights,
                    "k": k,
                    "coupling": coupling.score(run, k, 1),
                    "chance": coupling.chance_score(run, k, 1),
                    "flat": 1 - k**-0.5,
                    "diagonal_share": share.value,
                }
            )
    return pd.DataFrame(rows)


def sweep_width(frame: pd.DataFrame) -> pd.DataFrame:
    """The means of each width over groups in which nothing but the width differs.

    Args:
        frame: the table of small models.

    Returns:
        One row per width: the number of groups, and the mean of each of ``WIDTH_COLUMNS``.
    """
    widths = frame["width"].nunique()
    complete = frame.groupby(GROUPS).filter(lambda group: group["width"].nunique() == widths)
    means = complete.groupby("width")[list(WIDTH_COLUMNS)].mean()
    means.insert(0, "groups", complete.groupby("width").size())
    return means.reset_index()


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the tables")
    out: Path = parser.parse_args().out
    with errors_in_one_line():
        out.mkdir(parents=True, exist_ok=True)
        for name, table in ((BY_K, sweep_k()), (BY_WIDTH, sweep_width(family_table().frame))):
            write_atomically(out / name, table.round(6).to_csv(index=False).encode())
            print(out / name)


if __name__ == "__main__":
    main()
