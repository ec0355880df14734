"""Draw the pictures of the documentation into docs/pictures.

Pictures of runs are drawn from the bundled checkpoint, trained and untrained; pictures of tables from tables that come
with the package. Run it as ``python docs/make_pictures.py``; ``--out`` chooses another folder.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import coupling
from coupling import figures
from coupling.analyses.correlation.published import published_table
from coupling.analyses.correlation.small_models import family_table

K = (5, 10)
SHAPES = ("L2-d64", "L4-d64", "L8-d64")
"""Small models of one width, whose scores are drawn against training steps."""


def pictures_of_runs() -> Iterator[tuple[str, Figure]]:
    """Name and figure of every picture that is drawn from runs."""
    trained = coupling.analyze(k=K)
    untrained = coupling.analyze(k=K, random_weights=True)
    yield "heatmap", figures.heatmap(trained)
    yield "circle", figures.circle(trained)
    yield "grid", figures.grid(trained, blocks=(1, 8))  # block 0's Jacobian is fifty times larger than the others
    yield "trajectory", figures.trajectory(trained)
    yield "linearity", figures.linearity([trained, untrained])
    yield "spectrum", figures.spectrum([trained, untrained])
    yield "angles", figures.angles([trained, untrained])


def pictures_of_tables() -> Iterator[tuple[str, Figure]]:
    """Name and figure of the pictures dynamics and scatter."""
    family = family_table().frame
    shapes = family[family["family"].isin(SHAPES)].sort_values(["depth", "steps"], ignore_index=True)
    columns = {"family": "model", "steps": "step", "coupling K=10 p=2": "score", "chance K=10 p=2": "chance"}
    yield "dynamics", figures.dynamics(shapes[list(columns)].rename(columns=columns))
    published = published_table()
    (benchmark,) = published.benchmarks
    points = pd.DataFrame(
        {
            "model": published.frame.index,
            "score": published.frame[published.primary].to_numpy(),
            "benchmark": published.frame[benchmark].to_numpy(),
        }
    )
    yield "scatter", figures.scatter(points, score_label="coupling (p = 1)", benchmark_label="leaderboard average")


def main() -> None:
    """Draw all pictures, and print their paths."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the documentation.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for pictures in (pictures_of_runs(), pictures_of_tables()):
        for name, figure in pictures:
            print(figures.save(figure, out / f"{name}.png"))


if __name__ == "__main__":
    main()
