"""``coupling plot RUN... --picture PICTURE -o FILE``: a picture of saved runs or of a table."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.choices import TABLE_PICTURES, Picture, ScatterAxis
from coupling.cli.options import K_HELP, Quiet, SkipFirst, formerly, parse_k, parse_range, parse_selection, parse_steps
from coupling.cli.output import console, warning_lines

WHICH, LABELS = "Which part of the run", "Labels (dynamics, scatter)"
OF_TRAINING = ("dynamics", "checkpoints")
"""Pictures whose runs are placed by their training step."""


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders that `coupling analyze --out` wrote; for dynamics and checkpoints also those of `coupling "
            "sweep`; for rl and dynamics those of `coupling rl`; for dynamics, scatter and rl .csv tables.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write: .png, .svg or .pdf.", show_default=False)
    ],
    picture: Annotated[Picture | None, typer.Option(help="What is drawn.", show_default=False)] = None,
    k: Annotated[
        str | None,
        typer.Option(
            "--k",
            help=f"{K_HELP}. Default: the run's largest.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    norm: Annotated[
        int | None,
        typer.Option(
            "--norm", "-p", min=1, max=2, help="p of the norm. Default: 2.", show_default=False, rich_help_panel=WHICH
        ),
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Without the absolute value.", rich_help_panel=WHICH)
    ] = False,
    swapped: Annotated[bool, typer.Option("--swapped", help="The swapped variant.", rich_help_panel=WHICH)] = False,
    prompt: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="One prompt, counted from 0. Default: the mean over prompts; for grid and trajectory the first.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            help="One block such as 3, or a pair such as 2:5, for runs that compare tokens. Default: the middle one.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="A range of blocks such as 4:12 (12 is left out). Default: the middle eight for grid, all for "
            "spectrum.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            help="A token such as 5 or last, or a range such as 1:20 (20 is left out). Default: the middle eight for "
            "grid, all for trajectory.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    skip_first: SkipFirst = None,
    ranks: Annotated[
        int | None,
        typer.Option(min=1, help="Singular values in spectrum. Default: 5.", show_default=False, rich_help_panel=WHICH),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            help="The training steps in checkpoints, separated by commas. Default: at most six.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    step_pattern: Annotated[
        str | None,
        typer.Option(
            help="For dynamics and checkpoints: a regular expression whose first group is the step in the name of a "
            "revision or folder. Default: step1000, checkpoint-1000, global_step1000, iter_0001000, epoch_3.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    excess: Annotated[
        bool | None,
        typer.Option(
            "--excess/--no-excess",
            help="In heatmap, draw how far the coupling exceeds chance, or the coupling itself. Default: the excess.",
            show_default=False,
            rich_help_panel=WHICH,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="In circle, how many pairs are drawn. Default: 60.", show_default=False, rich_help_panel=WHICH
        ),
    ] = None,
    highest: Annotated[
        float | None,
        typer.Option(min=0, help="In grid, the value of the darkest color.", show_default=False, rich_help_panel=WHICH),
    ] = None,
    score_label: Annotated[
        str | None, typer.Option(help="Name of the score's axis.", show_default=False, rich_help_panel=LABELS)
    ] = None,
    benchmark_label: Annotated[
        str | None, typer.Option(help="Name of the benchmark's axis.", show_default=False, rich_help_panel=LABELS)
    ] = None,
    against: Annotated[
        ScatterAxis | None,
        typer.Option(
            help="The horizontal axis of scatter: score, or width for the score against the width, with the chance "
            "curve. Default: score.",
            show_default=False,
            rich_help_panel=LABELS,
        ),
    ] = None,
    quiet: Quiet = False,
    kind: Annotated[Picture | None, typer.Option("--kind", hidden=True)] = None,
    token: Annotated[str | None, typer.Option("--token", hidden=True)] = None,
) -> None:
    """Draw saved runs, or the table of dynamics, scatter or rl.

    Columns of the tables: dynamics - model, step, score (chance, excess, diagonal_share, aligned_energy,
    line_shape_score, expodistance, residual_growth, k, k_label, norm, seed, prompt); scatter - model, score, benchmark
    (group, width, chance); rl - step, reward (excess, ess, kl, score, chance,
    mismatch_to_initial, run, seed). Those in
    brackets may be missing.
    """
    picture = formerly("--kind", kind, "--picture", picture)
    tokens = formerly("--token", token, "--tokens", tokens)
    if picture is None:
        raise typer.BadParameter("--picture is missing: it names what is drawn")
    options = {
        "k": None if k is None else parse_k(k),
        "norm": norm,
        "signed": signed or None,
        "swapped": swapped or None,
        "prompt": prompt,
        "block": block,
        "blocks": None if blocks is None else parse_range(blocks, "blocks"),
        "tokens": None if tokens is None else parse_selection(tokens, "tokens"),
        "skip_first": skip_first,
        "ranks": ranks,
        "steps": None if steps is None else parse_steps(steps),
        "excess": excess,
        "top": top,
        "highest": highest,
        "score_label": score_label,
        "benchmark_label": benchmark_label,
        "against": against,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    from coupling.early import check_picture_name

    check_picture_name(output)
    sources = _checked(runs, picture)
    screen = console(stderr=True, quiet=quiet)
    with screen.status(f"drawing {picture}"), warning_lines():
        figure = _draw(picture, sources, given, step_pattern)
        from coupling.figures import save

        save(figure, output)
    screen.print(f"saved {output}", soft_wrap=True)


def _checked(runs: list[Path], picture: Picture) -> list[Path]:
    """What a picture is drawn from, after checking that it is there; a study stands for its runs."""
    from coupling.analyses.sweep.runs import checked_runs
    from coupling.early import check_table

    if picture in OF_TRAINING and all(run.expanduser().is_dir() for run in runs):
        return runs  # folders of many runs
    if picture in TABLE_PICTURES:
        for run in runs:
            check_table(run, picture)
        return runs
    return checked_runs(runs)


def _draw(picture: Picture, runs: list[Path], given: dict[str, Any], step_pattern: str | None) -> Any:
    """The figure, after checking that every option that was given applies to it."""
    from coupling import figures

    draw = getattr(figures, picture)
    known = inspect.signature(draw).parameters
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"--{name.replace('_', '-')} does not apply to the picture {picture}")
    if step_pattern is not None and picture not in OF_TRAINING:
        raise typer.BadParameter(f"--step-pattern does not apply to the picture {picture}")
    return draw(_read(runs, picture, step_pattern), **given)


def _read(runs: list[Path], picture: Picture, step_pattern: str | None) -> Any:
    """The table or the runs that a picture is drawn from, without the large variables that it does not need."""
    if picture == "dynamics" and any(run.expanduser().is_dir() for run in runs):
        from coupling.analyses.dynamics import dynamics_table

        return dynamics_table(runs, step_pattern=step_pattern)
    if picture == "checkpoints":
        from coupling.analyses.dynamics import checkpoint_runs

        return checkpoint_runs(runs, step_pattern=step_pattern)
    if picture in TABLE_PICTURES:
        from coupling.figures.columns import read_tables

        return read_tables(runs, picture)
    from coupling.dataset import DETAIL_VARIABLES
    from coupling.run_folder import open_run

    needed = {"grid": "projection", "trajectory": "residual_stream"}.get(picture)
    return [open_run(run, without=[name for name in DETAIL_VARIABLES if name != needed]) for run in runs]
