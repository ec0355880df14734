"""``coupling plot RUN... --kind KIND -o FILE``: a picture of saved runs or of a table."""

import inspect
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from coupling.cli.options import Quiet
from rich.console import Console


class PictureKind(StrEnum):
    """What is drawn."""

    grid = "grid"
    heatmap = "heatmap"
    circle = "circle"
    trajectory = "trajectory"
    spectrum = "spectrum"
    linearity = "linearity"
    angles = "angles"
    dynamics = "dynamics"
    scatter = "scatter"
    rl = "rl"


WHICH, LABELS = "Which part of the run", "Labels (dynamics, scatter)"


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that `coupling analyze --out` made; for rl those of "
                       "`coupling rl`; for dynamics, scatter and rl .csv tables.", show_default=False),
    ],
    kind: Annotated[PictureKind, typer.Option(help="What is drawn.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The picture; .png, .svg or .pdf.", show_default=False)
    ],
    k: Annotated[
        int | None, typer.Option("--k", min=1, help="Number of top singular vectors. Default: the run's largest.",
                                 show_default=False, rich_help_panel=WHICH)
    ] = None,
    norm: Annotated[
        int | None, typer.Option("--norm", "-p", min=1, max=2, help="p of the norm. Default: 2.", show_default=False,
                                 rich_help_panel=WHICH)
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Without the absolute value.", rich_help_panel=WHICH)
    ] = False,
    swapped: Annotated[bool, typer.Option("--swapped", help="The swapped variant.", rich_help_panel=WHICH)] = False,
    prompt: Annotated[
        int | None, typer.Option(min=0, help="One prompt, from 0. Default: the mean over prompts; for grid and "
                                 "trajectory the first.", show_default=False, rich_help_panel=WHICH)
    ] = None,
    block: Annotated[
        str | None, typer.Option(help="One block such as 3, or a pair such as 2:5, for runs that compare tokens. "
                                 "Default: the middle one.", show_default=False, rich_help_panel=WHICH)
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="A range such as 4:12 (12 is left out). Default: the middle eight for grid, all "
                                 "for spectrum.", show_default=False, rich_help_panel=WHICH)
    ] = None,
    token: Annotated[
        int | None, typer.Option(min=0, help="One measured token, for a depth run of several.", show_default=False,
                                 rich_help_panel=WHICH)
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="A range such as 1:20 (20 is left out). Default: the middle eight for grid, all "
                                 "for trajectory.", show_default=False, rich_help_panel=WHICH)
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Singular values in spectrum. Default: 5.", show_default=False,
                                 rich_help_panel=WHICH)
    ] = None,
    highest: Annotated[
        float | None, typer.Option(min=0, help="In grid, the value of the darkest colour.", show_default=False,
                                   rich_help_panel=WHICH)
    ] = None,
    score_label: Annotated[
        str | None, typer.Option(help="Name of the score's axis.", show_default=False, rich_help_panel=LABELS)
    ] = None,
    benchmark_label: Annotated[
        str | None, typer.Option(help="Name of the benchmark's axis.", show_default=False, rich_help_panel=LABELS)
    ] = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draw saved runs, or the table of dynamics, scatter or rl.

    Columns of the tables: dynamics - model, step, score (chance, prompt); scatter - model, score, benchmark (group);
    rl - step, reward (ess, kl, score, chance, mismatch_to_initial, run, seed). Those in brackets may be missing.
    """
    options = {
        "k": k, "norm": norm, "signed": signed or None, "swapped": swapped or None, "prompt": prompt, "block": block,
        "blocks": None if blocks is None else parse_range(blocks, "blocks"), "token": token,
        "tokens": None if tokens is None else parse_range(tokens, "tokens"), "ranks": ranks, "highest": highest,
        "score_label": score_label, "benchmark_label": benchmark_label,
    }  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    from coupling.figures.style import check_suffix

    from coupling import figures

    check_suffix(output)
    draw = getattr(figures, kind.value)
    known = inspect.signature(draw).parameters
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"--{name.replace('_', '-')} does not apply to the picture {kind.value}")
    if kind.value in figures.TABLE_KINDS:
        from coupling.figures.tables import read_tables

        source: Any = read_tables(runs, kind.value)
    else:
        from coupling.detail import VARIABLES
        from coupling.store import open_run

        needed = {"grid": "projection", "trajectory": "residual_stream"}.get(kind.value)
        source = [open_run(run, without=[name for name in VARIABLES if name != needed]) for run in runs]
    figures.save(draw(source, **given), output)
    Console(stderr=True, quiet=quiet).print(f"saved {output}", highlight=False, soft_wrap=True, markup=False)


def parse_range(text: str, what: str) -> tuple[int, int]:
    """``4:12``; either end may be left out."""
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last) if last else 10**9
        if not colon or start < 0 or stop <= start:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"--{what} is {text!r}, but must be a range such as 4:12") from None
    return start, stop
