"""``coupling estimate MODEL``: how long a run will take, and how much memory, before anything is loaded."""

from typing import Annotated, Any

import typer

from coupling.choices import DEFAULT_K
from coupling.cli.model_options import (
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
    PROMPTS,
    BatchSize,
    Json,
    Ks,
    Limit,
    MemoryBudget,
    parse_batch_size,
    parse_ks,
    parse_tokens,
)
from coupling.cli.output import console, print_json
from coupling.cli.prompts import prompts_of


def estimate(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A local folder or a Hugging Face hub id, of which the configuration alone is read. "
            "Default: the bundled small checkpoint.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="A text or a file of prompts. Default: the bundled set.", show_default=False, rich_help_panel=PROMPTS
        ),
    ] = None,
    limit: Limit = None,
    length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of each prompt. Default: one for every four characters.",
            show_default=False,
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    k: Ks = None,
    kind: OneKind = "depth",
    tokens: Tokens = None,
    engine: OneEngine = "auto",
    batch_size: BatchSize = "auto",
    memory_budget: MemoryBudget = DEFAULT_BUDGET,
    revision: Revision = None,
    dtype: Precision = "auto",
    device: Device = "auto",
    block_list: BlockList = None,
    trust_remote_code: TrustRemoteCode = False,
    stream: Stream = None,
    json: Json = False,
) -> None:
    """Estimate how long coupling analyze would take, and how much memory.

    Only the configuration of the model is read; the rate of this device is measured in about a second. Expect a factor
    of two.
    """
    together = parse_batch_size(batch_size)
    named: Any = None if tokens is None else parse_tokens(tokens)
    texts = prompts_of(prompts, None, None, None, None, limit, chat=False, images=None)
    from coupling.early import check_early
    from coupling.programs import quiet_libraries

    check_early(model, weights=False)  # before PyTorch is loaded
    quiet_libraries()
    from coupling.cli.render.estimate import print_estimate
    from coupling.estimate import estimate as estimated
    from coupling.estimate import sizes_of
    from coupling.resources import Resources, parse_bytes
    from coupling.settings import Settings

    count, mean = sizes_of(texts, limit)
    found = estimated(
        model,
        Settings(tuple(parse_ks(k) or DEFAULT_K), kind, named, engine=engine),
        prompts=count,
        length=length or mean,
        dtype=dtype,
        device=device,
        stream="auto" if stream is None else stream,
        revision=revision,
        trust_remote_code=trust_remote_code,
        block_list=block_list,
        resources=Resources(together, parse_bytes(memory_budget)),
    )
    if json:
        print_json(found.as_dict())
    else:
        print_estimate(found, console())
