"""``coupling analyze MODEL``: measure a checkpoint on prompts."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from coupling.choices import DEFAULT_K, DEFAULT_TOL, Detail
from coupling.cli.interrupts import check
from coupling.cli.model_options import (
    MODEL,
    AllowPickle,
    BlockList,
    Device,
    OneEngine,
    OneKind,
    Precision,
    Revision,
    Stream,
    Tokens,
    TrustRemoteCode,
)
from coupling.cli.options import (
    DEFAULT_BUDGET,
    MEASURE,
    OUTPUT,
    PROMPTS,
    BatchSize,
    Column,
    Images,
    Json,
    Ks,
    Limit,
    MemoryBudget,
    NoTable,
    Overwrite,
    Patches,
    Preset,
    WithBaselines,
    formerly,
    new_folder,
    parse_batch_size,
    parse_ks,
    parse_pair,
    parse_patch,
    parse_token,
    parse_tokens,
    remove_if_empty,
)
from coupling.cli.output import console, print_json, warning_lines
from coupling.cli.prompts import check_sources, images_of, prompts_of
from coupling.cli.saved import detail_note, resume_hint
from coupling.untrusted import quoted


def analyze(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A local folder (of a model or a PEFT adapter), a .gguf file, a Hugging Face hub id (ORG/NAME, or "
            "ORG/NAME:Q4_K_M for a GGUF file), or timm:NAME for one of timm's vision transformers. "
            "Default: the bundled small checkpoint.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="A text, a file (.txt with one prompt per line, .jsonl or .csv), or - for standard input. "
            "Default: the bundled set.",
            show_default=False,
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    column: Column = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A data set: anything that datasets.load_dataset loads.", show_default=False, rich_help_panel=PROMPTS
        ),
    ] = None,
    dataset_config: Annotated[
        str | None,
        typer.Option(help="The data set's configuration.", show_default=False, rich_help_panel=PROMPTS),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The data set's split.", show_default=False, rich_help_panel=PROMPTS)
    ] = None,
    limit: Limit = None,
    images: Images = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut prompts to the model's context.", rich_help_panel=PROMPTS)
    ] = False,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Render each prompt, or a JSONL file's messages, with the model's own chat template.",
            rich_help_panel=PROMPTS,
        ),
    ] = False,
    special_tokens: Annotated[
        bool,
        typer.Option(
            "--special-tokens/--no-special-tokens",
            help="Let the tokenizer add special tokens such as BOS; never twice.",
            rich_help_panel=PROMPTS,
        ),
    ] = True,
    k: Ks = None,
    preset: Preset = None,
    kind: OneKind = "depth",
    tokens: Tokens = None,
    patch: Patches = None,
    fixed_token: Annotated[
        str | None,
        typer.Option(
            help="The token that a context kind keeps fixed: an index or last.",
            show_default=False,
            rich_help_panel=MEASURE,
        ),
    ] = None,
    block_pair: Annotated[
        list[str] | None,
        typer.Option(
            help="For kind self: a pair of blocks such as 2:5; may be repeated. Default: each block with itself.",
            show_default=False,
            rich_help_panel=MEASURE,
        ),
    ] = None,
    engine: OneEngine = "auto",
    tol: Annotated[
        float, typer.Option(help="Relative residual at which the matrix-free engine stops.", rich_help_panel=MEASURE)
    ] = DEFAULT_TOL,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of every random draw.", rich_help_panel=MEASURE)
    ] = 0,
    revision: Revision = None,
    dtype: Precision = "auto",
    device: Device = "auto",
    block_list: BlockList = None,
    part: Annotated[
        Literal["encoder", "decoder", "vision"] | None,
        typer.Option(
            help="The half of an encoder-decoder model that is measured, or the vision tower of a multimodal model.",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="The model of an adapter, where the adapter does not name the right one.",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    allow_pickle: AllowPickle = False,
    trust_remote_code: TrustRemoteCode = False,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="Measure the untrained model: weights drawn from the seed.", rich_help_panel=MODEL
        ),
    ] = False,
    stream: Stream = None,
    batch_size: BatchSize = "auto",
    memory_budget: MemoryBudget = DEFAULT_BUDGET,
    baselines: WithBaselines = False,
    detail: Annotated[
        Detail,
        typer.Option(
            help="Prompts that keep the data of the pictures grid and trajectory. auto: the first, up to 64 MB.",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the run. Default: a new one under runs/.", show_default=False, rich_help_panel=OUTPUT
        ),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in --out: measure what is missing of it, and prompts or images that follow those it "
            "has, as with a larger --limit. All else must be the same.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    json: Json = False,
    quiet: NoTable = False,
    blocks: Annotated[str | None, typer.Option("--blocks", hidden=True)] = None,
) -> None:
    """Measure block coupling of a checkpoint on prompts or images, and save the run."""
    block_list = formerly("--blocks", blocks, "--block-list", block_list)
    if overwrite and resume:
        raise typer.BadParameter("--overwrite and --resume exclude each other")
    check_sources(prompts, dataset, dataset_config, split, images)
    if patch and tokens is not None:
        raise typer.BadParameter("--patch and --tokens exclude each other")
    patches = [parse_patch(one) for one in patch or ()]
    together = parse_batch_size(batch_size)
    if resume and out is None:
        raise typer.BadParameter("--resume needs --out, the folder of the run")
    settings: dict[str, Any] = {
        "k": parse_ks(k) or DEFAULT_K,
        "kind": kind,
        "tokens": None if tokens is None else parse_tokens(tokens),
        "fixed_token": None if fixed_token is None else parse_token(fixed_token),
        "block_pairs": tuple(parse_pair(pair) for pair in block_pair or ()),
        "engine": engine,
        "tol": tol,
        "seed": seed,
    }
    from coupling.early import check_early
    from coupling.presets import preset_settings
    from coupling.settings import Settings

    if preset is not None:
        settings |= preset_settings(preset, **{key: settings[key] for key in ("k", "kind", "tokens")})
    Settings(**settings)  # a wrong setting is reported before anything is loaded
    place = out
    try:
        from coupling.cli.progress import PromptProgress
        from coupling.programs import loading_libraries, quiet_libraries

        screen = console(stderr=True, quiet=quiet)
        weights = not random_weights
        check_early(model, out, overwrite=overwrite, resume=resume, weights=weights, allow_pickle=allow_pickle)
        with warning_lines():
            texts = prompts_of(prompts, column, dataset, dataset_config, split, limit, chat=chat, images=images)
        quiet_libraries()
        with screen.status("loading libraries"), loading_libraries():
            from coupling.pipeline import analyze as run_analysis
            from coupling.summary import summarize
        check()
        place = out if out is not None else new_folder(model)
        with warning_lines(), PromptProgress(screen, model or "the bundled checkpoint") as progress:
            run = run_analysis(
                model,
                texts,
                images=images_of(images, column, dataset_config, split, limit),
                patch=patches or None,
                preset=preset,
                limit=limit,
                out=place,
                overwrite=overwrite,
                resume=resume,
                revision=revision,
                dtype=dtype,
                device=device,
                trust_remote_code=trust_remote_code,
                block_list=block_list,
                part=part,
                base=base,
                allow_pickle=allow_pickle,
                truncate=truncate,
                special_tokens=special_tokens,
                chat=chat,
                random_weights=random_weights,
                detail=detail,
                baselines=baselines,
                batch_size=together,
                memory_budget=memory_budget,
                stream="auto" if stream is None else stream,
                progress=progress,
                **settings,
            )
    except KeyboardInterrupt:
        print(f"interrupted{resume_hint(place)}", file=sys.stderr)
        raise
    finally:
        if out is None and place is not None:
            remove_if_empty(place)
    if texts is not None and texts.source == "text":
        screen.print(f"prompt: {quoted(texts.texts[0])}", soft_wrap=True)
    summary = summarize(run) | {"run": str(place)}
    if json:
        print_json(summary)
    elif not quiet:
        from coupling.cli.render.run import print_run

        print_run(summary, console())
    if model is None:
        screen.print(
            "no MODEL was given: this is the bundled checkpoint, a small Llama trained on Python source",
            soft_wrap=True,
        )
    screen.print(f"saved in {place}{detail_note(run)}", highlight=False, soft_wrap=True)
