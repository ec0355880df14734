"""``coupling directions RUN --blocks 14:18``: what the top singular directions of blocks mean, as tokens."""

from typing import Annotated

import typer

from coupling.cli.model_options import AllowPickle, Device, TrustRemoteCode
from coupling.cli.options import Json, Run, parse_range, parse_token
from coupling.cli.output import console, print_json, warning_lines


def directions(
    run: Run,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="A range of blocks such as 14:18 (18 is left out). Default: the four in the middle.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, metavar="K", help="Number of top singular vectors per block.")] = 5,
    top: Annotated[int, typer.Option(min=1, help="Number of tokens or patches for each end of a vector.")] = 8,
    prompt: Annotated[int, typer.Option(min=0, help="The prompt or image, counted from 0.")] = 0,
    token: Annotated[
        str | None,
        typer.Option(
            help="The token at which the Jacobians are computed: an index or last. Default: the run's (of several the "
            "last).",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="The images of the run, where they are not where they were.", show_default=False),
    ] = None,
    device: Device = "auto",
    allow_pickle: AllowPickle = False,
    trust_remote_code: TrustRemoteCode = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    json: Json = False,
) -> None:
    """Read the top singular vectors of blocks as tokens (of images: by patches), and mark those that blocks share."""
    if csv and json:
        raise typer.BadParameter("--csv and --json exclude each other")
    chosen = None if blocks is None else parse_range(blocks, "blocks")
    at = None if token is None else parse_token(token)
    from coupling.programs import loading_libraries, quiet_libraries
    from coupling.run_files import finished_run

    finished_run(run)
    quiet_libraries()
    screen = console(stderr=True)
    with screen.status("measuring"), warning_lines():
        with loading_libraries():
            from coupling.readout import directions as read
            from coupling.shared_directions import as_csv, as_json

        table = read(
            run,
            chosen,
            k=k,
            top=top,
            prompt=prompt,
            token=at,
            images=images,
            device=device,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
        )
    if json:
        print_json(as_json(table))
    elif csv:
        typer.echo(as_csv(table), nl=False)
    else:
        from coupling.cli.render.directions import print_directions

        print_directions(table, console())
