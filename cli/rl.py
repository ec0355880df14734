"""``coupling rl RUN.yaml``: post-train by RL and measure coupling through the run, or measure a run's checkpoints."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coupling.choices import Objective
from coupling.cli.options import CHECKPOINTS, OUTPUT, CheckpointKs, Json, NoTable, Overwrite, new_folder, parse_ks
from coupling.cli.output import PlainConsole, console, print_json, result_alone
from coupling.cli.saved import rl_interrupted
from coupling.errors import CouplingError
from coupling.programs import loading_libraries
from coupling.untrusted import clean, expanded

if TYPE_CHECKING:
    from coupling.analyses.rl.checkpoints import MeasuredCheckpoints
    from coupling.analyses.rl.config import RunConfig

RUN = "Run"


def rl(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN.yaml]",
            help="The configuration: model, objective, data, reward, probe, trainer, lora and seed. A reward of the "
            "form module:function imports that module, which runs its code.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo", help="Train a small model to close brackets, on the CPU within minutes.", rich_help_panel=RUN
        ),
    ] = False,
    objective: Annotated[
        Objective | None,
        typer.Option(
            help="Replaces the objective of RUN.yaml or of the demo.", show_default=False, rich_help_panel=RUN
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Seed of every random draw. Default: that of RUN.yaml, or 0.",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of seeds, which are run one after the other, beginning with --seed, into one table. "
            "Default: 1, for the demo 3.",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    save_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Keep a checkpoint every N steps and at the end, in the folder trainer of --out; also of the demo.",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    trust_rewards: Annotated[
        bool,
        typer.Option(
            "--trust-rewards",
            help="Import reward modules from anywhere: their code runs. Without it, only from the folder of RUN.yaml "
            "and from installed packages.",
            rich_help_panel=RUN,
        ),
    ] = False,
    from_checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER|STEP=PATH",
            help="Measure the checkpoints that any trainer saved in this folder: those of TRL, verl, OpenRLHF, "
            "ms-swift, prime-rl, FeynRL and others, whole models or adapters. The step is the last number in a path. "
            "Or repeat it with STEP=PATH for each checkpoint.",
            show_default=False,
            rich_help_panel=CHECKPOINTS,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="A text, a file (.txt with one prompt per line, .jsonl or .csv), or - for standard input. "
            "Default: the prompts of the run of coupling rl, or the bundled set.",
            show_default=False,
            rich_help_panel=CHECKPOINTS,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The column that contains the prompt.", show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use only the first N prompts.", show_default=False, rich_help_panel=CHECKPOINTS),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help="The model that the run began from, a folder or a hub id. Default: the run's own where it is known, "
            "else the first checkpoint.",
            show_default=False,
            rich_help_panel=CHECKPOINTS,
        ),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut prompts to the model's context.", rich_help_panel=CHECKPOINTS)
    ] = False,
    k: CheckpointKs = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the table. Default: a new one under runs/.", show_default=False, rich_help_panel=OUTPUT
        ),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the run in --out from its last checkpoint.", rich_help_panel=OUTPUT),
    ] = False,
    json: Json = False,
    quiet: NoTable = False,
) -> None:
    """Post-train a model by RL and measure block coupling through the run, or measure the checkpoints of a run."""
    for_checkpoints: dict[str, Any] = {
        "prompts": prompts, "column": column, "limit": limit, "k": parse_ks(k), "initial": initial,
    }  # fmt: skip
    if sum((config is not None, demo, bool(from_checkpoints))) != 1:
        raise typer.BadParameter("give one of RUN.yaml, --demo and --from-checkpoints")
    if not from_checkpoints:
        _refuse(
            for_checkpoints | {"truncate": truncate}, "to --from-checkpoints; for a run, RUN.yaml has the key probe"
        )
    else:
        options = {"objective": objective, "seeds": seeds, "save_every": save_every, "resume": resume}
        options |= {"trust_rewards": trust_rewards}
        _refuse(options, "to a run, but not to --from-checkpoints")
    if column is not None and prompts is None:
        raise typer.BadParameter("--column applies to --prompts")
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    if resume and out is None:
        raise typer.BadParameter("--resume needs --out, the folder of the unfinished run")

    from coupling.analyses.rl.processes import is_main_process, is_only_process
    from coupling.programs import quiet_libraries

    if not is_only_process() and out is None:
        raise CouplingError("several processes need one folder to write to: give --out")
    if not is_main_process():
        quiet, json = True, False
    screen = console(stderr=True, quiet=quiet)
    quiet_libraries()
    skipped: list[dict[str, str]] = []
    if from_checkpoints:
        out = out or new_folder(f"rl-{Path(from_checkpoints[0]).name}")
        measured = _measure(
            screen, from_checkpoints, out, seed=seed or 0, truncate=truncate, overwrite=overwrite, **for_checkpoints
        )
        rows = measured.rows
        skipped = [{"folder": item.name, "reason": item.reason} for item in measured.skipped]
    else:
        chosen, n_seeds = _configuration(screen, config, objective, seed, seeds, save_every)
        out = out or new_folder(f"rl-{chosen.run_name}")
        beside = Path() if config is None else expanded(config).parent
        rows = _run(
            screen, chosen, out, n_seeds, overwrite=overwrite, resume=resume, beside=beside, trust=trust_rewards
        )
    if not rows and is_main_process():
        raise CouplingError(f"the run made no steps; see {out}")
    _print_result(rows, skipped, out, json=json, quiet=quiet, rewards=not from_checkpoints)
    _say(screen, f"table: {out / 'table.csv'}")
    _say(screen, f"draw it: coupling plot {out} --picture rl -o rl.png")


def _refuse(options: Mapping[str, Any], reason: str) -> None:
    """Refuse options that were given but do not apply."""
    given = [
        f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None and value is not False
    ]
    if given:
        raise typer.BadParameter(f"{' and '.join(given)} {'apply' if len(given) > 1 else 'applies'} {reason}")


def _configuration(
    screen: PlainConsole,
    path: Path | None,
    objective: Objective | None,
    seed: int | None,
    n_seeds: int | None,
    every: int | None,
) -> "tuple[RunConfig, int]":
    """The configuration of the file, or of the demo without one, with the options' values; the number of seeds."""
    from dataclasses import replace

    with screen.status("loading libraries"), loading_libraries():
        from coupling.analyses.rl.config import read_config
        from coupling.analyses.rl.demo import SEEDS, demo_config
    config = demo_config() if path is None else read_config(path)
    if objective is not None:
        config = replace(config, objective=objective)
    if seed is not None:
        config = replace(config, seed=seed)
    if every is not None:
        config = config.keeping_checkpoints(every)
    return config, n_seeds or (SEEDS if path is None else 1)


def _run(
    screen: PlainConsole,
    config: "RunConfig",
    out: Path,
    n_seeds: int,
    *,
    overwrite: bool,
    resume: bool,
    beside: Path,
    trust: bool,
) -> list[dict[str, Any]]:
    """Post-train; when the user interrupts, say how to continue."""
    from coupling.cli.progress import StepProgress

    with screen.status("loading libraries"), loading_libraries():
        from coupling.analyses.rl.post_training import post_train
    try:
        # What a reward function or a trainer prints is not the result.
        with StepProgress(screen, "loading the model") as progress, result_alone():
            return post_train(
                config,
                out,
                seeds=range(config.seed, config.seed + n_seeds),
                overwrite=overwrite,
                resume=resume,
                progress=progress.over_seeds(n_seeds, config.seed),
                notify=lambda sentence: _say(screen, sentence),
                rewards_folder=beside,
                trust_rewards=trust,
            )
    except KeyboardInterrupt:
        sys.stderr.write(clean(rl_interrupted(out), keep="\n"))
        raise


def _measure(
    screen: PlainConsole,
    source: list[str],
    out: Path,
    *,
    prompts: str | None,
    column: str | None,
    limit: int | None,
    k: tuple[int | str, ...] | None,
    initial: str | None,
    seed: int,
    truncate: bool,
    overwrite: bool,
) -> "MeasuredCheckpoints":
    """Measure checkpoints, with the run's own prompts, K's and initial model where none are given."""
    from coupling.cli.progress import StepProgress

    with screen.status("loading libraries"), loading_libraries():
        from coupling.analyses.rl.checkpoints import defaults_of, measure_checkpoints
        from coupling.models.prompts import read_prompts
    with StepProgress(screen, f"looking at {', '.join(source)}") as progress, result_alone():
        defaults = defaults_of(source, None if prompts is None else read_prompts(prompts, column=column))
        measured = measure_checkpoints(
            source,
            defaults.prompts.limited(limit),
            k=k or defaults.k,
            initial=initial or defaults.initial,
            seed=seed,
            truncate=truncate,
            out=out,
            overwrite=overwrite,
            progress=progress.checkpoint,
        )
    _say(screen, f"mismatch to initial is measured against {measured.reference}")
    for item in measured.skipped:
        _say(screen, f"not measured: {item.name}: {item.reason}")
    return measured


def _print_result(
    rows: Sequence[Mapping[str, Any]],
    skipped: list[dict[str, str]],
    out: Path,
    *,
    json: bool,
    quiet: bool,
    rewards: bool,
) -> None:
    """The result on stdout: JSON, or a table unless --quiet was given."""
    from coupling.cli.render.rl import print_rows, summarize_rows

    if json:
        print_json({"out": str(out), "table": str(out / "table.csv"), "skipped": skipped, **summarize_rows(rows)})
    elif not quiet:
        print_rows(rows, console(), rewards=rewards)


def _say(screen: PlainConsole, message: str) -> None:
    screen.print(message, soft_wrap=True)
