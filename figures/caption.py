"""The line above a picture that says what it was drawn from."""

from collections.abc import Sequence

import xarray as xr
from matplotlib.figure import Figure

from coupling.dataset import input_word
from coupling.figures.selection import run_names
from coupling.figures.style import GRAY


def described(runs: Sequence[xr.Dataset], prompt: int | None = None) -> str:
    """What a picture was drawn from: the model, unless several runs carry their names, and the number of prompts.

    Args:
        runs: the runs that are drawn.
        prompt: the one prompt that is drawn; None for all of them.
    """
    unit = input_word(*runs)
    if prompt is not None:
        number = f"{unit} {prompt}"
    else:
        counts = sorted({run.sizes["prompt"] for run in runs})
        number = f"{' or '.join(map(str, counts))} {unit}{'' if counts == [1] else 's'}"
    return f"{run_names(runs)[0]}, {number}" if len(runs) == 1 else number


def caption(figure: Figure, runs: Sequence[xr.Dataset], prompt: int | None = None, notes: Sequence[str] = ()) -> None:
    """Write above a picture what it was drawn from (see ``described``), and what was left out."""
    figure.suptitle("\n".join((described(runs, prompt), *notes)), fontsize=9, color=GRAY, x=0.01, ha="left")
