"""``coupling rl RUN.yaml``: post-train by RL, coupling tracked through it; or measure the checkpoints of a run."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.cli.options import OUTPUT, Json, NoTable, Overwrite, new_folder
from coupling.cli.output import print_json, result_alone
from coupling.errors import CouplingError


class Objective(StrEnum):
    """What the policy's update maximizes."""

    p3o = "p3o"
    grpo = "grpo"
    dapo = "dapo"
    cispo = "cispo"


RUN, CHECKPOINTS = "Run", "Checkpoints of another run"


def rl(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN.yaml]", help="What to run: model, objective, data, reward, probe, trainer, lora, "
                       "seed.", show_default=False),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="A small model that closes brackets, on the CPU in minutes.",
                           rich_help_panel=RUN)
    ] = False,
    objective: Annotated[
        Objective | None,
        typer.Option(help="Replaces the objective of RUN.yaml or of the demo.", show_default=False,
                     rich_help_panel=RUN),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Of every random draw. Default: that of RUN.yaml, or 0.",
                     show_default=False, rich_help_panel=RUN),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Run so many seeds, from --seed on, into one table. Default: 1, for the demo 3.",
                     show_default=False, rich_help_panel=RUN),
    ] = None,
    from_checkpoints: Annotated[
        Path | None,
        typer.Option(help="Measure the checkpoints that TRL (checkpoint-100) or FeynRL (iter000001_v000001) left in "
                     "this folder.", show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="What they are measured on: a text, a file (.txt, .jsonl, .csv), or - for standard input. "
                     "Default: those of the run of coupling rl, or the bundled set.", show_default=False,
                     rich_help_panel=CHECKPOINTS),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The column that holds the prompt.", show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first N prompts.", show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(help="The model that the run began from, a folder or hub id. Default: the run's where it is "
                     "known, or the first checkpoint.", show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut prompts to the model's context.", rich_help_panel=CHECKPOINTS)
    ] = False,
    k: Annotated[
        list[int] | None,
        typer.Option("--k", min=1, help="Number of top singular vectors; may be repeated. Default: the run's, or 10.",
                     show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the table. Default: a new one under runs/.", show_default=False,
                     rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run from its last checkpoint.",
                           rich_help_panel=OUTPUT)
    ] = False,
    json: Json = False,
    quiet: NoTable = False,
) -> None:  # fmt: skip
    """Post-train a model by RL with block coupling tracked through it, or measure the checkpoints of a run."""
    if sum((config is not None, demo, from_checkpoints is not None)) != 1:
        raise typer.BadParameter("give one of RUN.yaml, --demo and --from-checkpoints")
    theirs = (prompts, column, limit, k, initial, truncate or None)
    if from_checkpoints is None and any(value is not None for value in theirs):
        raise typer.BadParameter(
            "--prompts, --column, --limit, --k, --initial and --truncate belong to --from-checkpoints; RUN.yaml has "
            "probe"
        )
    if from_checkpoints is not None and (objective is not None or seeds is not None):
        raise typer.BadParameter("--objective and --seeds do not apply to --from-checkpoints")
    if column is not None and prompts is None:
        raise typer.BadParameter("--column belongs to --prompts")
    if resume and (overwrite or from_checkpoints is not None):
        raise typer.BadParameter("--resume and --overwrite exclude each other" if overwrite
                                 else "--resume does not apply to --from-checkpoints")  # fmt: skip
    if resume and out is None:
        raise typer.BadParameter("--resume needs --out, the folder of the unfinished run")
    from rich.console import Console

    from coupling.analyses.rl.processes import is_alone, is_first
    from coupling.cli.progress import StepProgress, quiet_libraries
    from coupling.cli.render.rl import print_rows, summarize_rows

    if not is_alone() and out is None:
        raise CouplingError("several processes need one folder to write to: give --out")
    if not is_first():  # of several processes one speaks
        quiet, json = True, False
    screen = Console(stderr=True, quiet=quiet)
    quiet_libraries()
    place: Path
    skipped: list[dict[str, str]] = []
    if from_checkpoints is not None:
        place = out or new_folder(f"rl-{from_checkpoints.name}")
        with screen.status("loading libraries"):
            from coupling.analyses.rl.checkpoints import defaults_of, measure_checkpoints
            from coupling.files import load_json
            from coupling.models.prompts import read_prompts
        with StepProgress(screen, f"looking at {from_checkpoints}") as progress, result_alone():
            given = None if prompts is None else read_prompts(prompts, column=column)
            defaults = defaults_of(from_checkpoints, given)
            rows, left = measure_checkpoints(
                from_checkpoints, defaults.prompts.limited(limit), k=tuple(k or defaults.k),
                initial=initial or defaults.initial, seed=seed or 0, truncate=truncate, out=place, overwrite=overwrite,
                progress=progress.checkpoint,
            )  # fmt: skip
        anchor = load_json(place / "run.json")["mismatch_to"]
        screen.print(f"mismatch to initial is measured against {anchor}", highlight=False, soft_wrap=True, markup=False)
        skipped = [{"folder": item.folder.name, "reason": item.reason} for item in left]
        for item in skipped:
            screen.print(f"not measured: {item['folder']}: {item['reason']}", highlight=False, soft_wrap=True,
                         markup=False)  # fmt: skip
    else:
        with screen.status("loading libraries"):
            from coupling.analyses.rl.config import read_config
            from coupling.analyses.rl.demo import SEEDS, demo_config
        from dataclasses import replace

        chosen = demo_config(seed=seed or 0) if config is None else read_config(config)
        changes: dict[str, Any] = {"objective": objective.value} if objective is not None else {}
        chosen = replace(chosen, **changes | ({"seed": seed} if seed is not None else {}))
        count = seeds if seeds is not None else SEEDS if demo else 1
        place = out or new_folder(f"rl-{chosen.run_name}")
        with screen.status("loading libraries"):
            from coupling.analyses.rl.post_training import run
            from coupling.analyses.rl.resume import can_go_on
        try:
            # what a reward function or a trainer prints is not the result
            with StepProgress(screen, "loading the model") as progress, result_alone():
                rows = run(chosen, place, seeds=range(chosen.seed, chosen.seed + count), overwrite=overwrite,
                           resume=resume, progress=progress.of(count, chosen.seed))  # fmt: skip
        except KeyboardInterrupt:
            if is_first():
                hint = f"; go on with the same command and --out {place} --resume" if can_go_on(place) else ""
                held = f"; the table up to there is in {place}" if (place / "table.csv").exists() else ""
                print(f"interrupted{held}{hint}", file=sys.stderr)
            raise
    if not rows and is_first():
        raise CouplingError(f"the run made no steps; see {place}")
    if json:
        print_json({"out": str(place), "table": str(place / "table.csv"), "skipped": skipped, **summarize_rows(rows)})
    elif not quiet:
        print_rows(rows, Console(), rewards=from_checkpoints is None)
    screen.print(f"table: {place / 'table.csv'}", highlight=False, soft_wrap=True, markup=False)
    screen.print(f"draw it: coupling plot {place} --kind rl -o rl.png", highlight=False, soft_wrap=True,
                 markup=False)  # fmt: skip
