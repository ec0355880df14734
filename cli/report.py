"""``coupling report RUN... -o report.html``: one page of saved runs that opens in a browser."""

import datetime
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.cli.options import Quiet, SkipFirst, formerly, parse_range
from coupling.cli.output import console
from coupling.errors import CouplingError

SCATTER_COLUMNS = {"model", "score", "benchmark"}
LABELS = ("coupling 1 − m", "benchmark score")
"""Names of the scatter's axes used where no names are given."""


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders that `coupling analyze --out` wrote, or studies of `coupling sweep`, which stand for their "
            "runs; several are shown side by side. Or folders that `coupling rl` wrote.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page; .html.")] = Path("report.html"),
    scores: Annotated[
        str | None,
        typer.Option(
            help="Benchmark scores of the runs' models, for a scatter; the same sources as in coupling correlate.",
            show_default=False,
        ),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="The column of --scores that is drawn. Default: the first.", show_default=False)
    ] = None,
    scatter: Annotated[
        Path | None,
        typer.Option(
            help="A .csv table with the columns model, score and benchmark, drawn unchanged as a scatter.",
            show_default=False,
        ),
    ] = None,
    score_label: Annotated[
        str | None, typer.Option(help="Name of the scatter's horizontal axis.", show_default=False)
    ] = None,
    benchmark_label: Annotated[str | None, typer.Option(help="Name of its vertical axis.", show_default=False)] = None,
    skip_first: SkipFirst = None,
    directions: Annotated[
        str | None,
        typer.Option(
            help="A range of blocks such as 14:18 (18 is left out), whose top singular vectors the page shows as "
            "tokens (see coupling directions); the checkpoints are loaded again.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write one self-contained, interactive HTML page of saved runs."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise CouplingError(f"{output} must end in .html")
    if scores is not None and _is_scatter_table(Path(scores)):
        scatter = formerly("--scores with a table of points", Path(scores), "--scatter", scatter)
        scores = None
    if scores is not None and scatter is not None:
        raise typer.BadParameter("--scores and --scatter exclude each other")
    if benchmark is not None and scores is None:
        raise typer.BadParameter("--benchmark applies to --scores")
    blocks = None if directions is None else parse_range(directions, "directions")
    from coupling.analyses.rl.saved_run import only_rl_runs
    from coupling.analyses.sweep.runs import checked_runs

    if only_rl_runs(runs):
        if any(given is not None for given in (scores, scatter, skip_first, directions)):
            raise typer.BadParameter(
                "--scores, --scatter, --skip-first and --directions do not apply to runs of coupling rl"
            )
        _write_rl(runs, output, quiet=quiet)
        return
    folders = checked_runs(runs)
    if scores is not None:
        from coupling.analyses.correlation.sources import source_of

        source_of(scores)
    screen = console(stderr=True, quiet=quiet)
    with screen.status("drawing the page"):
        from coupling.figures.page.report import report as render
        from coupling.files import write_output
        from coupling.run_folder import open_run

        table, measure, name = _points(runs, scores, benchmark, scatter)
        page = render(
            [open_run(run) for run in folders],
            scores=table,
            score_label=score_label or measure,
            benchmark_label=benchmark_label or name,
            skip_first=skip_first,
            directions=[] if blocks is None else _directions(folders, blocks),
            **_origin(),
        ).encode()
        write_output(output, page)
    screen.print(f"saved {output} ({len(page) / 1e6:.1f} MB)", soft_wrap=True)


def _directions(folders: list[Path], blocks: tuple[int, int]) -> list[Any]:
    """The directions of each run's blocks."""
    from coupling.programs import quiet_libraries
    from coupling.readout import directions

    quiet_libraries()
    return [directions(folder, blocks) for folder in folders]


def _origin() -> dict[str, Any]:
    """What wrote the page, and when."""
    return {"command": shlex.join(["coupling", *sys.argv[1:]]), "date": datetime.date.today().isoformat()}


def _write_rl(folders: list[Path], output: Path, *, quiet: bool) -> None:
    """The page of runs of ``coupling rl``."""
    screen = console(stderr=True, quiet=quiet)
    with screen.status("drawing the page"):
        from coupling.analyses.rl.saved_run import read_rl_run, table_of
        from coupling.figures.page.training import training_report
        from coupling.files import write_output

        saved = [read_rl_run(folder) for folder in folders]
        table, described = table_of(saved)
        page = training_report(table, described, of_k=saved[0].of_k, **_origin()).encode()
        write_output(output, page)
    screen.print(f"saved {output} ({len(page) / 1e6:.1f} MB)", soft_wrap=True)


def _is_scatter_table(path: Path) -> bool:
    """Whether a file is a table of points, which ``--scores`` took before it took benchmark scores."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline(10_000)
    return {name.strip().strip('"') for name in header.split(",")} >= SCATTER_COLUMNS


def _points(runs: list[Path], scores: str | None, benchmark: str | None, scatter: Path | None) -> tuple[Any, str, str]:
    """The scatter's table, None where none was asked for, and the names of its axes."""
    if scatter is not None:
        from coupling.figures.columns import read_table

        return read_table(scatter, "scatter"), *LABELS
    if scores is None:
        return None, *LABELS
    from coupling.analyses.correlation.scatter import scatter_of_runs

    return scatter_of_runs(runs, scores, benchmark=benchmark)
