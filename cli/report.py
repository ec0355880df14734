"""``coupling report RUN... -o report.html``: one page of saved runs that opens in a browser."""

from pathlib import Path
from typing import Annotated

import typer
from coupling.cli.options import Quiet
from rich.console import Console

from coupling.errors import CouplingError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that `coupling analyze --out` made; several stand side by side.",
                       show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page; .html.")] = Path("report.html"),
    scores: Annotated[
        Path | None,
        typer.Option(help="A .csv table with the columns model, score and benchmark, for the scatter.",
                     show_default=False),
    ] = None,
    score_label: Annotated[str, typer.Option(help="Name of the scatter's horizontal axis.")] = "coupling 1 − m",
    benchmark_label: Annotated[str, typer.Option(help="Name of its vertical axis.")] = "benchmark score",
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Put saved runs into one interactive page that fetches nothing."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise CouplingError(f"{output} must end in .html")
    screen = Console(stderr=True, quiet=quiet)
    with screen.status("drawing"):
        from coupling.figures.page import report as render
        from coupling.figures.tables import read_table

        from coupling.store import open_run, write_atomically

        table = None if scores is None else read_table(scores, "scatter")
        page = render([open_run(run) for run in runs], scores=table, score_label=score_label,
                      benchmark_label=benchmark_label).encode()  # fmt: skip
        write_atomically(output, page)
    screen.print(f"saved {output} ({len(page) / 1e6:.1f} MB)", highlight=False, soft_wrap=True, markup=False)
