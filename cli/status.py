"""``coupling status STUDY``: how far a sweep is, from another terminal."""

from pathlib import Path
from typing import Annotated

import typer

from coupling.cli.options import Json
from coupling.cli.output import console, print_json


def status(
    study: Annotated[Path, typer.Argument(help="The folder that `coupling sweep` writes to.", show_default=False)],
    json: Json = False,
) -> None:
    """Print how far a sweep is; only its records are read, so it is not disturbed."""
    from coupling.analyses.sweep.status import read_status
    from coupling.cli.render.sweep import print_status

    found = read_status(study)
    if json:
        print_json(found.as_dict())
    else:
        print_status(found, console())
