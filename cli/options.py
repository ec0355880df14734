"""Options that several commands share, so that they read the same everywhere, and how their text is parsed."""

import contextlib
import re
import sys
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from coupling.choices import PresetName
from coupling.errors import CouplingError
from coupling.shares import normalize_k
from coupling.untrusted import clean

T = TypeVar("T")
DEFAULT_BUDGET = "1GiB"
"""What ``coupling.resources`` says, which imports torch."""

PROMPTS, MEASURE, OUTPUT = "Prompts and images", "Measurement", "Output"
"""The panels of a command's help that say on what it measures, what is measured, and where its results go."""
CHECKPOINTS = "Checkpoints of another run"
"""The panel of what applies to the checkpoints of another run alone."""
K_HELP = "Number of top singular vectors such as 10, or a share of the width such as 10%"
Ks = Annotated[
    list[str] | None,
    typer.Option(
        "--k",
        metavar="K",
        help=f"{K_HELP}; may be repeated, or several with commas. Default: 10.",
        show_default=False,
        rich_help_panel=MEASURE,
    ),
]
SelectedKs = Annotated[
    list[str] | None,
    typer.Option("--k", metavar="K", help=f"{K_HELP}; may be repeated. Default: all of the run's.", show_default=False),
]
CheckpointKs = Annotated[
    list[str] | None,
    typer.Option(
        "--k",
        metavar="K",
        help=f"{K_HELP}; may be repeated. Default: those of the run of coupling rl, or 10.",
        show_default=False,
        rich_help_panel=CHECKPOINTS,
    ),
]
Preset = Annotated[
    PresetName | None,
    typer.Option(
        help="In place of --k, --kind and --tokens: paper, in all likelihood what the paper's points are (K = 10% of "
        "the width; read the score at p = 1).",
        show_default=False,
        rich_help_panel=MEASURE,
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        "--images",
        help="For image models: a file, a folder, a glob, a .npy array, or anything that datasets.load_dataset loads. "
        "Default: the bundled set.",
        show_default=False,
        rich_help_panel=PROMPTS,
    ),
]
Patches = Annotated[
    list[str] | None,
    typer.Option(
        "--patch",
        metavar="ROW,COLUMN",
        help="Of an image, the patch that is measured, in place of --tokens; may be repeated.",
        show_default=False,
        rich_help_panel=MEASURE,
    ),
]
Column = Annotated[
    str | None,
    typer.Option(
        "--column",
        help="The column that contains the prompt or the image.",
        show_default=False,
        rich_help_panel=PROMPTS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Use only the first N prompts or images.",
        show_default=False,
        rich_help_panel=PROMPTS,
    ),
]
WithBaselines = Annotated[
    bool,
    typer.Option(
        "--baselines",
        help="Also measure what coupling is compared with: loss on the prompts, and properties of Jacobians, residual "
        "stream and weights.",
        rich_help_panel=MEASURE,
    ),
]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="auto|N",
        help="Prompts of equal length that are measured together.",
        rich_help_panel=MEASURE,
    ),
]
MemoryBudget = Annotated[
    str,
    typer.Option(
        "--memory-budget",
        metavar="SIZE",
        help="Memory for Jacobians and the passes that make them, beside the model and what is recorded.",
        rich_help_panel=MEASURE,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")]
NoTable = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no table.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a run that the folder already contains.", rich_help_panel=OUTPUT)
]
SkipFirst = Annotated[
    int | None,
    typer.Option(
        "--skip-first",
        min=0,
        metavar="N",
        help="Leave the first N tokens of each prompt out of measures and pictures of tokens. Default: 1 where the "
        "first token's norm dwarfs the others' (an attention sink), otherwise 0.",
        show_default=False,
    ),
]
Run = Annotated[Path, typer.Argument(help="A run: a folder that `coupling analyze --out` wrote.", show_default=False)]

MENTION = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
"""How the library's messages name a Python argument: `` `name` `` or `` `name=value` ``."""
OTHER_NAMES = {"block_pairs": "block-pair", "aliases": "alias", "benchmarks": "benchmark"}
"""Options whose name is not the argument's with hyphens."""


def as_options(message: str, options: Collection[str]) -> str:
    """A message of the library with its Python arguments written as options of the command that runs.

    Args:
        message: what the library says.
        options: the options of the command; an argument that is not among them keeps its Python name.

    Example:
        >>> as_options("give `resume=True` to continue it, or `dtype='float64'`", {"--resume", "--dtype"})
        'give --resume to continue it, or --dtype float64'
    """

    def option(mention: re.Match[str]) -> str:
        name, value = mention.groups()
        flag = "--" + OTHER_NAMES.get(name, name.replace("_", "-"))
        if flag not in options:
            return mention[0]
        return flag if value in (None, "True") else f"{flag} {value.strip(chr(39))}"

    return MENTION.sub(option, message)


def formerly(old: str, old_value: T | None, new: str, new_value: T | None) -> T | None:
    """The value of an option that has a new name; the old name still works, with a warning of one line.

    Args:
        old: the option's old name, with its hyphens.
        old_value: what was given under the old name; None or False for nothing.
        new: the option's present name.
        new_value: what was given under the present name.

    Raises:
        BadParameter: if both were given.
    """
    if not old_value:
        return new_value
    if new_value:
        raise typer.BadParameter(f"{old} is the old name of {new}; give one of them")
    print(f"warning: {old} is now called {new}", file=sys.stderr)
    return old_value


def parse_ks(texts: list[str] | None) -> tuple[int | str, ...] | None:
    """Every K of an option that may be repeated, such as ``5,10`` and ``10%``, in order; None where none was given.

    Example:
        >>> parse_ks(["5,10", "10%"])
        (5, 10, '10%')
    """
    return tuple(parse_k(one) for text in texts for one in text.split(",")) if texts else None


def parse_k(text: str) -> int | str:
    """``10``, or a share of the width such as ``10%``."""
    try:
        return normalize_k(int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else text)[0]
    except CouplingError as error:
        raise typer.BadParameter(str(error)) from None


def parse_token(name: str) -> int | str:
    """``last`` or an index."""
    if name == "last":
        return "last"
    try:
        return int(name)
    except ValueError:
        raise typer.BadParameter(f"token {name!r} is not an index or last") from None


def parse_tokens(names: str) -> int | str | tuple[int | str, ...]:
    """``last``, ``all``, an index, or several separated by commas."""
    if names == "all":
        return "all"
    tokens = [parse_token(name.strip()) for name in names.split(",")]
    return tuple(tokens) if len(tokens) > 1 else tokens[0]


def parse_pair(pair: str) -> tuple[int, int]:
    """``2:5``."""
    try:
        first, second = pair.split(":")
        return int(first), int(second)
    except ValueError:
        raise typer.BadParameter(f"block pair {pair!r} is not of the form 2:5") from None


def parse_patch(patch: str) -> tuple[int, int]:
    """``3,4``: a row and a column."""
    try:
        row, column = patch.split(",")
        return int(row), int(column)
    except ValueError:
        raise typer.BadParameter(f"patch {patch!r} is not a row and a column such as 3,4") from None


def parse_range(text: str, what: str) -> tuple[int, int]:
    """``4:12``; either end may be left out."""
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last) if last else 10**9
        if not colon or start < 0 or stop <= start:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"--{what} is {text!r}, but must be a range such as 4:12") from None
    return start, stop


def parse_selection(text: str, what: str) -> int | str | tuple[int, int]:
    """One of a picture's tokens, such as ``5``, ``-1`` or ``last``, or a range such as ``4:12``."""
    if text == "last":
        return text
    try:
        return int(text)
    except ValueError:
        if ":" in text:
            return parse_range(text, what)
        raise typer.BadParameter(f"--{what} is {text!r}, but must be one such as 5, last, or a range 4:12") from None


def parse_steps(text: str) -> list[int]:
    """Training steps separated by commas, such as ``0,64,1000``."""
    try:
        return [int(step) for step in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--steps is {text!r}, but must be training steps such as 0,64,1000") from None


def new_folder(model: str | None) -> Path:
    """A new, empty folder under runs/, named after the model and the time.

    It is made here, so that no two commands that start in the same second get the same one.

    Raises:
        CouplingError: if it cannot be made.
    """
    name = clean(Path(model).name, 80) if model else "bundled"
    stem = f"{name or 'model'}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(10_000):
        folder = Path("runs") / (stem if number == 0 else f"{stem}-{number}")
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise CouplingError(f"cannot make the folder {folder}: {error.strerror or error}; give `out`") from None
        return folder
    raise CouplingError(f"there is no free folder name left under runs/ for {stem}")


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that ``new_folder`` made, and runs/, where nothing was written to them."""
    with contextlib.suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def parse_batch_size(text: str) -> int | Literal["auto"]:
    """The number of prompts that are measured together, from the text of ``--batch-size``.

    Raises:
        typer.BadParameter: if it is neither "auto" nor a number of at least 1.
    """
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise typer.BadParameter(f"--batch-size {clean(text, 60)} is neither auto nor a number of at least 1")
    return int(text)
