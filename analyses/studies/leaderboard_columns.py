"""The published points against each column of the Open LLM Leaderboard, with chance taken out.

Run it as ``python -m coupling.analyses.studies.leaderboard_columns --out FOLDER``; it takes seconds. The points are
those that carry a name in the leaderboard's bundled table, which has base models alone.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from coupling.analyses.correlation.association import corrected
from coupling.analyses.correlation.benchmark_scores import LEADERBOARD, read_scores
from coupling.analyses.correlation.chance_level import against_chance
from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.matching import join
from coupling.analyses.correlation.models import ModelTable
from coupling.analyses.correlation.published import BENCHMARK, SCORE, published_table
from coupling.files import write_atomically
from coupling.programs import errors_in_one_line

TABLE = "leaderboard-columns.csv"
"""The file."""
SAME_MODELS = {"OLMo-1B": "allenai/OLMo-1B-hf", "OLMo-1.7-7B": "allenai/OLMo-7B-0424-hf"}
"""Published models whose weights have another name in the leaderboard."""
RESAMPLES = 9999
DIGITS = 6


def joined_points() -> ModelTable:
    """The published points that carry a name in the leaderboard's bundled table, with its columns."""
    table = published_table()
    scores = read_scores(LEADERBOARD)
    matches = join(list(table.frame.index), list(scores.benchmarks.index), SAME_MODELS)
    names = [name for index, name in enumerate(table.frame.index) if index in matches.pairs]
    columns = scores.benchmarks.loc[[matches.pairs[list(table.frame.index).index(name)] for name in names]]
    frame = table.frame.loc[names].drop(columns=BENCHMARK)
    frame = frame.join(columns.set_axis(pd.Index(names)))
    return ModelTable(frame, measures=[SCORE], benchmarks=list(columns.columns), primary=SCORE)


def columns_table(*, resamples: int = RESAMPLES) -> pd.DataFrame:
    """One row per column of the leaderboard.

    Args:
        resamples: number of permutations, and of bootstrap samples.

    Returns:
        ``column``, ``n``; R² of coupling, chance and log parameters with it; ``left``, the correlation of what is left
        of coupling above chance, with its interval; ``partial``, the partial correlation of coupling given chance, with
        its interval, its p-value and the one corrected for the number of columns (Holm); ``partial_chance``, that of
        chance given coupling; and ``partial_on_curve`` and ``n_on_curve``, without the models off the curve.
    """
    points = joined_points()
    rows: list[dict[str, Any]] = []
    for column in points.benchmarks:
        found = against_chance(points, SCORE, column, resamples=resamples)
        (statistics,) = correlate(points, benchmarks=[column], resamples=99)["results"]
        r2 = {row["name"]: row["r2"] for row in statistics["predictors"]}
        of_coupling, of_chance = found["partial"]["all"]
        on_curve, _ = found["partial"]["without_off_curve"]
        rows.append(
            {
                "column": column,
                "n": found["n"],
                "r2_coupling": r2[SCORE],
                "r2_chance": found["benchmark"]["r2"],
                "r2_log_parameters": r2["log parameters"],
                "left": found["left"]["pearson"],
                "left_low": found["left"]["pearson_interval"][0],
                "left_high": found["left"]["pearson_interval"][1],
                "partial": of_coupling["partial"],
                "partial_low": of_coupling["partial_interval"][0],
                "partial_high": of_coupling["partial_interval"][1],
                "p": of_coupling["p"],
                "partial_chance": of_chance["partial"],
                "partial_on_curve": on_curve["partial"],
                "n_on_curve": on_curve["n"],
            }
        )
    for row, correction in zip(rows, corrected([row["p"] for row in rows]), strict=True):
        row["p_holm"] = correction["p_holm"]
    return pd.DataFrame(rows)


def main() -> None:
    """Compute the table, and write it."""
    parser = argparse.ArgumentParser(description="Published points against the columns of the Open LLM Leaderboard.")
    parser.add_argument("--out", type=Path, default=Path(), help="the folder of the table")
    out: Path = parser.parse_args().out
    with errors_in_one_line():
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / TABLE, columns_table().round(DIGITS).to_csv(index=False).encode())
    print(out / TABLE, file=sys.stderr)


if __name__ == "__main__":
    main()
