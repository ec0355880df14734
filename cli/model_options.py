"""Options that commands which measure a model share: how it is loaded, and what of it is measured."""

from typing import Annotated

import typer

from coupling.choices import Dtype, Engine, Kind
from coupling.cli.options import MEASURE

MODEL = "Model"
"""The panel of a command's help that says which model is loaded, and how."""

OneKind = Annotated[Kind, typer.Option("--kind", help="Which Jacobians are compared.", rich_help_panel=MEASURE)]
Tokens = Annotated[
    str | None,
    typer.Option(
        "--tokens",
        help="Tokens measured: indices such as 0,5,-1, or last, or all. Default: last for depth (of an image the class "
        "token, else the center patch), all for the other kinds.",
        show_default=False,
        rich_help_panel=MEASURE,
    ),
]
OneEngine = Annotated[Engine, typer.Option("--engine", help="How singular vectors are found.", rich_help_panel=MEASURE)]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision", help="Branch, tag or commit of a hub repository.", show_default=False, rich_help_panel=MODEL
    ),
]
Precision = Annotated[
    Dtype,
    typer.Option(
        "--dtype",
        help="Precision of the model's passes; auto widens half precision to float32.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="A torch device; auto takes an accelerator if there is one.", rich_help_panel=MODEL),
]
BlockList = Annotated[
    str | None,
    typer.Option(
        "--block-list",
        help="Name of the list of residual blocks, such as model.layers, where it is not found.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Read .bin weights: pickles, which can run any code.", rich_help_panel=MODEL),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run code that the repository contains.", rich_help_panel=MODEL),
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream",
        help="Read the blocks from disk one at a time, for models larger than the memory. Default: where the weights "
        "do not fit.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
