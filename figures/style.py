"""The one style of all pictures, and how they are saved: the same data gives the same bytes."""

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from cycler import cycler
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from coupling.early import check_picture_name
from coupling.errors import CouplingWarning
from coupling.files import write_output

WIDTH = 5.6
"""Inches; text stays readable when the picture is printed at half of it."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colors, which people with any common form of color blindness can tell apart."""
PIXELS_PER_INCH = 200
GRAY = "#6b6b6b"
CHANCE_COLOR = PALETTE[1]
"""The chance level where it is marked on a color bar."""
CHANCE_TEXT = "#a34700"
"""The label of that mark: a darker shade, so that small letters are legible."""
CHANCE_GRAY = "#444444"
"""The chance level in a legend, where it stands for dashed lines of several colors."""
MAGNITUDE = mpl.colormaps["YlGnBu"]
"""For magnitudes: light for small values, dark for large ones, on screen and on paper."""
NOT_COMPARED = "#dddddd"
"""The background of a matrix, which shows where a Jacobian would be compared with itself."""
DEPTH = mpl.colormaps["viridis"]
"""For the order of blocks, ranks and tokens."""
LINE_STYLES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MOST_NAMES = 30
"""Names in a legend; further ones are counted."""
FURTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAGothic", "Noto Sans Devanagari", "Noto Sans Bengali",
    "Noto Sans Tamil", "Noto Sans Telugu", "Noto Sans Thai", "Noto Sans Hebrew", "Noto Sans Arabic",
    "Noto Sans Symbols", "Noto Sans Symbols2", "Noto Emoji", "Symbola",
)  # fmt: skip
"""Fonts for scripts and symbols that DejaVu Sans lacks; those that a system has are used, glyph by glyph."""

_STYLE: Any = {
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.6,
    "figure.dpi": PIXELS_PER_INCH,  # as saved, so that texts are placed at the size that they will have
    "savefig.dpi": PIXELS_PER_INCH,
    "svg.fonttype": "none",
    "svg.hashsalt": "coupling",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names and tokens are plain text, even if they contain dollar signs
    "text.usetex": False,
    "image.interpolation": "nearest",
    "image.resample": False,
    "path.simplify": True,
}
_TEXT_SIZES: Any = (
    "font.size",
    "axes.labelsize",
    "axes.titlesize",
    "legend.fontsize",
    "xtick.labelsize",
    "ytick.labelsize",
)
_NO_DATES: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""The metadata that would make two files of the same picture differ."""


# Figures


class GlyphWarning(CouplingWarning):
    """A picture contains characters that no font of the system has."""


@contextmanager
def styled(missing_glyphs: Literal["ignore", "always"] = "ignore") -> Iterator[None]:
    """Use the project's style inside the ``with`` statement, whatever the user's own style is.

    Args:
        missing_glyphs: what happens to matplotlib's warnings about them; ``save`` sums them up.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(missing_glyphs, message="Glyph .* missing")  # tokens come in every script
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {"font.family": fonts()})
        yield


@cache
def fonts() -> list[str]:
    """DejaVu Sans, which comes with matplotlib, and after it this system's fonts for scripts that it lacks."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FURTHER_FONTS if name in installed)]


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a height and width in inches; pyplot does not know of it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_of_squares(count: int, side: float = 0) -> Figure:
    """A figure with room for square pictures in a row and one color bar; a single picture is larger.

    Args:
        count: the number of pictures.
        side: inches that each picture needs to show all of its cells; it gets at most 12.
    """
    side = min(12.0, max(side, 0.6 * WIDTH if count == 1 else 2.35))
    return new_figure(side + (0.75 if count == 1 else 1.05), max(WIDTH, side * count + 1.25))


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as png, svg or pdf; the file name's suffix decides.

    Args:
        figure: what a function of this package returned.
        path: the file; an existing one is replaced.

    Returns:
        The path of the file; its folder is created where it is missing.

    Raises:
        CouplingError: if the suffix is another, or the file cannot be written.

    Warns:
        GlyphWarning: if no font of this system has some of the characters, which are drawn as boxes.
    """
    path = Path(path).expanduser()
    check_picture_name(path)
    suffix = path.suffix.lower()
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught, styled(missing_glyphs="always"):
        figure.savefig(content, format=suffix[1:], metadata=_NO_DATES[suffix])
    write_output(path, content.getvalue())
    missing = {str(warning.message) for warning in caught if str(warning.message).startswith("Glyph")}
    if missing:
        warnings.warn(
            f"no font of this system has {len(missing)} of the picture's characters, which are drawn as boxes; "
            "install fonts for their script, such as those of Noto (on Debian fonts-noto-cjk, fonts-symbola)",
            GlyphWarning,
            stacklevel=2,
        )
    return path


def enlarge_text(factor: float) -> None:
    """Scale the texts that are made afterwards, for a picture that is larger than usual; used inside ``styled``."""
    if factor > 1.2:
        for name in _TEXT_SIZES:
            mpl.rcParams[name] = factor * float(mpl.rcParams[name])


# Texts

_VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍"}


def printable(text: str, longest: int = 24, *, blank: str = " ") -> str:
    r"""A token or a name as one short line: control characters are made visible, the middle is left out.

    Args:
        text: the token or name.
        longest: the largest number of characters.
        blank: stands for a space; in tokens a dot does.

    Example:
        >>> printable("import os\n", blank="·")
        'import·os↵'
    """
    shown = "".join(_visible(character, blank) for character in text)
    return shown if len(shown) <= longest else f"{shown[: longest // 2 - 1]}…{shown[-(longest // 2) :]}"


def wrapped(name: str, longest: int = 26) -> str:
    """A name on as many lines as the width of a small picture asks for, so that two titles do not meet."""
    return "\n".join(textwrap.wrap(name, longest) or [name])


def _visible(character: str, blank: str) -> str:
    if character == " ":
        return blank
    if character in _VISIBLE:
        return _VISIBLE[character]
    category = unicodedata.category(character)
    is_control = category.startswith("C") or category in ("Zl", "Zp")  # Vega takes these two for the end of a line
    return character.encode("unicode_escape", "surrogatepass").decode("ascii") if is_control else character


def legend_name(name: object, longest: int = 40) -> str:
    """A name as a legend shows it; matplotlib would leave out a name that begins with an underscore."""
    shown = printable(str(name), longest)
    return f" {shown}" if shown.startswith("_") else shown


# Axes, color bars and legends


def block_ticks(axes: Axes, blocks: list[int], *, most: int = 8) -> None:
    """Block numbers on both axes of a block x block image, at most ``most`` of them."""
    step = next(step for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 100, 1000) if len(blocks) <= step * most)
    positions = list(range(0, len(blocks), step))
    labels = [str(blocks[position]) for position in positions]
    axes.set_xticks(positions, labels)
    axes.set_yticks(positions, labels)


def plain_log_ticks(axis: Axis) -> None:
    """Powers of ten as numbers: without mathematical text, matplotlib would print its markup."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def mark_on_colorbar(bar: Colorbar, value: float, label: str) -> None:
    """A line across the color bar at a value, with its label on the left."""
    low, high = bar.mappable.get_clim()
    height = min(max(value, low), high)
    bar.ax.axhline(height, color=CHANCE_COLOR, linewidth=2.5)
    text = bar.ax.annotate(
        label,
        (0, height),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        color=CHANCE_TEXT,
        annotation_clip=False,
    )
    text.set_in_layout(False)


def legend_above(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int = 3) -> None:
    """A legend above the axes that makes its own room; beyond 30 names it says how many more there are."""
    handles, labels = list(handles), list(labels)
    if len(labels) > MOST_NAMES:
        n_more = len(labels) - MOST_NAMES + 1
        handles = [*handles[: MOST_NAMES - 1], Line2D([], [], linestyle="")]
        labels = [*labels[: MOST_NAMES - 1], f"and {n_more} more"]
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, rows - 2))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def line_look(index: int) -> dict[str, Any]:
    """The color of the n-th of many lines and, once all colors have been used, another line style."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": LINE_STYLES[index // len(PALETTE) % len(LINE_STYLES)],
    }


def shades(count: int, cmap: Colormap = DEPTH) -> list[tuple[float, float, float, float]]:
    """``count`` colors along a map, without its palest end."""
    return [cmap(0.88 * index / max(1, count - 1)) for index in range(count)]
