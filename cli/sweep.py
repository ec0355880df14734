"""``coupling sweep STUDY.yaml`` or ``coupling sweep MODEL --revisions ...``: measure many checkpoints."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.choices import Detail, Dtype, Kind, SweepEngineName
from coupling.cli.model_options import Tokens
from coupling.cli.options import (
    MEASURE,
    OUTPUT,
    PROMPTS,
    Column,
    Images,
    Json,
    Ks,
    Limit,
    NoTable,
    Patches,
    Preset,
    WithBaselines,
    parse_ks,
    parse_patch,
    parse_tokens,
)
from coupling.cli.output import console, print_json
from coupling.errors import CouplingError, Terminated

WHAT, WHERE = "Checkpoints", "Where the tasks run"
YAML = (".yaml", ".yml")


def sweep(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY.yaml | MODEL...",
            help="A study file; or models: hub ids, folders, or patterns of folders such as 'trained/checkpoint-*'; or "
            "the folder of a study that goes on.",
            show_default=False,
        ),
    ],
    revisions: Annotated[
        str | None,
        typer.Option(
            help="Revisions of models on the hub: names with commas between them, or a pattern such as 'step*', which "
            "the hub resolves.",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="A text, or a file (.txt with one prompt per line, .jsonl or .csv). Default: the bundled set.",
            show_default=False,
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    images: Images = None,
    column: Column = None,
    limit: Limit = None,
    k: Ks = None,
    preset: Preset = None,
    kind: Annotated[
        Kind | None,
        typer.Option(help="Which Jacobians are compared. Default: depth.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    tokens: Tokens = None,
    patch: Patches = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Precision of the models' passes.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="A torch device. Default: auto.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    baselines: WithBaselines = False,
    detail: Annotated[
        Detail | None,
        typer.Option(
            help="Prompts that keep the data of the pictures grid and trajectory.",
            show_default=False,
            rich_help_panel=MEASURE,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**63 - 1, help="Seed of every random draw.", show_default=False, rich_help_panel=MEASURE
        ),
    ] = None,
    engine: Annotated[
        SweepEngineName,
        typer.Option(help="Where tasks run: local is processes on this machine, ray a cluster.", rich_help_panel=WHERE),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tasks that run side by side. Default: one per GPU, or per core as far as the memory reaches.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each task. Default: the cores, shared out among the workers.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="For ray: a cluster, or auto for the one that this machine belongs to. Default: Ray is started here.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    keep_downloads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Downloaded checkpoints that may lie on the disk at a time. Default: one more than --workers.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Also try again what was set aside for ending its worker.", rich_help_panel=WHERE),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the study. Default: sweeps/ and the name of the study file or of the model.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: Json = False,
    quiet: NoTable = False,
) -> None:
    """Measure many checkpoints, each as one task with one run; the same command goes on after an interruption."""
    given = {
        "prompts": prompts, "column": column, "limit": limit, "k": parse_ks(k), "preset": preset, "kind": kind,
        "dtype": dtype, "device": device, "detail": detail,
        "baselines": baselines or None, "seed": seed, "images": images,
        "patch": [parse_patch(one) for one in patch or ()], "tokens": None if tokens is None else parse_tokens(tokens),
        "revisions": None if revisions is None else [name.strip() for name in revisions.split(",")],
    }  # fmt: skip
    study = study_of(what, {name: value for name, value in given.items() if value is not None and value != []})

    from coupling.cli.render.sweep import SweepProgress, print_index
    from coupling.programs import quiet_libraries

    screen = console(stderr=True, quiet=quiet)
    quiet_libraries()
    with screen.status("loading libraries"):
        from coupling.analyses.sweep.study import check_study

        check_study(study)  # before the rest is loaded
        from coupling.analyses.sweep.driver import sweep as run_sweep
        from coupling.analyses.sweep.index import as_json

    with SweepProgress(screen) as progress:
        try:
            table = run_sweep(
                study,
                out=out,
                engine=engine,
                workers=workers,
                threads=threads,
                address=address,
                keep_downloads=keep_downloads,
                retry=retry,
                progress=progress,
            )
        except KeyboardInterrupt as end:
            progress.stop()
            print(f"interrupted{progress.so_far()}; the same command goes on", file=sys.stderr)
            raise typer.Exit(143 if isinstance(end, Terminated) else 130) from None
    if json:
        print_json(as_json(table))
    elif not quiet:
        print_index(table, console())
    troubled = table[table["state"].isin(["failed", "set aside"])]
    if len(troubled):
        first = troubled.iloc[0]
        message = f"{len(troubled)} of {len(table)} tasks were not measured; {first['task']}: {first['error']}"
        raise CouplingError(message)


def study_of(what: list[str], given: dict[str, Any]) -> Any:
    """What the arguments name: a study file, a study's folder, or a mapping of models and options.

    Args:
        what: the arguments.
        given: the options that say what is measured, those alone that were given.

    Raises:
        BadParameter: if a study file or folder is given together with something else.
    """
    from coupling.analyses.sweep.runs import is_study

    files = [name for name in what if name.lower().endswith(YAML) or is_study(name)]
    if not files:
        return {"models": what} | given
    if len(what) > 1:
        raise typer.BadParameter(f"{files[0]} is a whole study; give it alone")
    if given:
        option = next(iter(given)).replace("_", "-")
        raise typer.BadParameter(f"--{option} belongs to models; what a study measures is written in {files[0]}")
    return files[0]
