"""``coupling analyze MODEL``: measure a checkpoint on prompts."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from coupling.cli.options import OUTPUT, Json, NoTable, Overwrite, new_folder, print_json


class Kind(StrEnum):
    """Which Jacobians are compared."""

    depth = "depth"
    self = "self"
    context_input = "context-input"
    context_output = "context-output"


class Engine(StrEnum):
    """How singular vectors are found."""

    auto = "auto"
    dense = "dense"
    matrix_free = "matrix-free"


class Dtype(StrEnum):
    """The precision of the model's passes."""

    auto = "auto"
    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Detail(StrEnum):
    """Which prompts keep what the pictures grid and trajectory draw."""

    auto = "auto"
    all = "all"
    none = "none"


MODEL, PROMPTS, MEASURE = "Model", "Prompts", "Measurement"


def analyze(
    model: Annotated[
        str | None,
        typer.Argument(help="A local folder or a Hugging Face hub id. Default: the bundled small checkpoint.",
                       show_default=False),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="A text, a file (.txt a prompt a line, .jsonl, .csv), or - for standard input. "
                     "Default: the bundled set.", show_default=False, rich_help_panel=PROMPTS),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column that holds the prompt.", show_default=False, rich_help_panel=PROMPTS)
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Anything that datasets.load_dataset loads.", show_default=False, rich_help_panel=PROMPTS),
    ] = None,
    dataset_config: Annotated[
        str | None, typer.Option(help="The data set's configuration.", show_default=False, rich_help_panel=PROMPTS)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The data set's split.", show_default=False, rich_help_panel=PROMPTS)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N prompts.", show_default=False, rich_help_panel=PROMPTS)
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut prompts to the model's context.", rich_help_panel=PROMPTS)
    ] = False,
    k: Annotated[
        list[int] | None,
        typer.Option("--k", min=1, help="Number of top singular vectors; may be repeated. Default: 10.",
                     show_default=False, rich_help_panel=MEASURE),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Which Jacobians are compared.", rich_help_panel=MEASURE)] = Kind.depth,
    tokens: Annotated[
        str | None,
        typer.Option(help="Tokens measured: indices such as 0,5,-1, last, or all. Default: last for depth, "
                     "all for the other kinds.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    fixed_token: Annotated[
        str | None,
        typer.Option(help="The token that a context kind holds: an index or last.", show_default=False,
                     rich_help_panel=MEASURE),
    ] = None,
    block_pair: Annotated[
        list[str] | None,
        typer.Option(help="For kind self: a pair of blocks such as 2:5; may be repeated. Default: each block with "
                     "itself.", show_default=False, rich_help_panel=MEASURE),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="How singular vectors are found.", rich_help_panel=MEASURE)
    ] = Engine.auto,
    tol: Annotated[
        float, typer.Option(help="Relative residual at which the matrix-free engine stops.", rich_help_panel=MEASURE)
    ] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of every random draw.", rich_help_panel=MEASURE)] = 0,
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of a hub repository.", show_default=False, rich_help_panel=MODEL),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="auto widens half precision to float32.", rich_help_panel=MODEL)
    ] = Dtype.auto,
    device: Annotated[
        str, typer.Option(help="auto takes an accelerator if there is one.", rich_help_panel=MODEL)
    ] = "auto",
    blocks: Annotated[
        str | None,
        typer.Option(help="Name of the list of residual blocks, such as model.layers, where it is not found.",
                     show_default=False, rich_help_panel=MODEL),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the repository brings.", rich_help_panel=MODEL)
    ] = False,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Measure the untrained model: the configuration alone, weights drawn "
                     "from the seed. A baseline.", rich_help_panel=MODEL),
    ] = False,
    detail: Annotated[
        Detail,
        typer.Option(help="Prompts that keep what the pictures grid and trajectory draw: K² numbers a pair and "
                     "(L + 1) d a token, 4 bytes each. auto: the first prompts, up to 64 MB.", rich_help_panel=OUTPUT),
    ] = Detail.auto,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the run. Default: a new one under runs/.", show_default=False,
                     rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run.", rich_help_panel=OUTPUT)
    ] = False,
    json: Json = False,
    quiet: NoTable = False,
) -> None:  # fmt: skip
    """Measure block coupling of a checkpoint, and save the run."""
    if overwrite and resume:
        raise typer.BadParameter("--overwrite and --resume exclude each other")
    if prompts is not None and dataset is not None:
        raise typer.BadParameter("--prompts and --dataset exclude each other")
    if dataset is None and (split is not None or dataset_config is not None):
        raise typer.BadParameter("--split and --dataset-config belong to --dataset")
    if resume and out is None:
        raise typer.BadParameter("--resume needs --out, the folder of the unfinished run")
    settings: dict[str, Any] = {
        "k": tuple(k) if k else (10,), "kind": kind.value, "engine": engine.value, "tol": tol, "seed": seed,
        "token": None if tokens is None else parse_tokens(tokens),
        "fixed_token": None if fixed_token is None else parse_token(fixed_token),
        "block_pairs": tuple(parse_pair(pair) for pair in block_pair or ()),
    }  # fmt: skip
    from rich.console import Console

    screen = Console(stderr=True, quiet=quiet)
    from coupling.cli.progress import PromptProgress, quiet_libraries

    quiet_libraries()
    with screen.status("loading libraries"):
        from coupling.analysis import analyze as run_analysis
        from coupling.prompts import dataset_prompts, read_prompts
        from coupling.settings import Settings
        from coupling.summary import summarize

    Settings(**settings)  # a wrong setting is reported before anything is loaded
    if dataset is not None:
        texts = dataset_prompts(dataset, config=dataset_config, split=split, column=column, limit=limit)
    else:
        texts = read_prompts(prompts, column=column)
    texts = texts.limited(limit)
    out = out if out is not None else new_folder(model)
    try:
        with PromptProgress(screen, model or "the bundled checkpoint") as progress:
            run = run_analysis(
                model, texts, out=out, overwrite=overwrite, resume=resume, revision=revision, dtype=dtype.value,
                device=device, trust_remote_code=trust_remote_code, blocks=blocks, truncate=truncate,
                random_weights=random_weights, detail=detail.value, progress=progress, **settings,
            )  # fmt: skip
    except KeyboardInterrupt:
        kept = len(list(out.glob("parts/*.nc")))
        hint = f"; {kept} prompts are kept, go on with the same command and --out {out} --resume" if kept else ""
        print(f"interrupted{hint}", file=sys.stderr)
        raise
    summary = summarize(run) | {"run": str(out)}
    if json:
        print_json(summary)
    elif not quiet:
        from coupling.cli.tables import print_run

        print_run(summary, Console())
    if model is None:
        screen.print("no MODEL was given: this is the bundled checkpoint, a small Llama trained on Python source",
                     soft_wrap=True)  # fmt: skip
    if not quiet:
        screen.print(f"saved in {out}{detail_note(run)}", highlight=False, soft_wrap=True)


def detail_note(run: Any) -> str:
    """What the pictures' data costs, and which prompts have none."""
    from coupling.detail import VARIABLES

    size = sum(run[name].nbytes for name in VARIABLES if name in run)
    held, prompts = run.sizes.get("detailed_prompt", 0), run.sizes["prompt"]
    which = "" if held in (0, prompts) else f"the first {held} of {prompts} prompts, "
    return f" ({which}{size / 1e6:.1f} MB of it for the pictures grid and trajectory)" if held else ""


def parse_token(name: str) -> int | str:
    """``last`` or an index."""
    if name == "last":
        return "last"
    try:
        return int(name)
    except ValueError:
        raise typer.BadParameter(f"token {name!r} is not an index or last") from None


def parse_tokens(names: str) -> int | str | tuple[int | str, ...]:
    """``last``, ``all``, an index, or several with commas between."""
    if names == "all":
        return "all"
    tokens = tuple(parse_token(name.strip()) for name in names.split(","))
    return tokens if len(tokens) > 1 else tokens[0]


def parse_pair(pair: str) -> tuple[int, int]:
    """``2:5``."""
    try:
        first, second = pair.split(":")
        return int(first), int(second)
    except ValueError:
        raise typer.BadParameter(f"block pair {pair!r} is not of the form 2:5") from None
