"""One style for all pictures, and how they are saved: the same data gives the same bytes."""

import io
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from coupling.errors import CouplingError
from coupling.files import write_atomically

WIDTH = 5.6
"""Inches; text stays readable when the picture is printed at half of it."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colors, apart for every common form of color blindness."""
PIXELS_AN_INCH = 200
GRAY = "#6b6b6b"
MAGNITUDE = mpl.colormaps["YlGnBu"]
"""For magnitudes: light is little, dark is much, on screen and on paper."""
DEPTH = mpl.colormaps["viridis"]
"""For the order of blocks, ranks and tokens."""
LINES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MOST_NAMES = 30
SUFFIXES = (".png", ".svg", ".pdf")

_STYLE: Any = {
    "font.family": "DejaVu Sans",
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
    "figure.dpi": PIXELS_AN_INCH,  # as saved, so that texts are placed at the size that they will have
    "savefig.dpi": PIXELS_AN_INCH,
    "svg.fonttype": "none",
    "svg.hashsalt": "coupling",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names and tokens are text, whatever dollars they hold
    "text.usetex": False,
    "image.interpolation": "nearest",
    "image.resample": False,
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """The project's style, whatever the user's own is; only inside."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # tokens come in every script
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a height and width in inches; no global state knows of it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; png, svg or pdf by the suffix.

    Args:
        figure: what a function of this package returned.
        path: the file; replaced if it is there.

    Raises:
        CouplingError: if the suffix is another, or the file cannot be written.
    """
    path = Path(path).expanduser()
    check_suffix(path)
    content = io.BytesIO()
    metadata = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }[path.suffix.lower()]
    with styled():
        figure.savefig(content, format=path.suffix.lower()[1:], metadata=metadata)
    write_atomically(path, content.getvalue())
    return path


def check_suffix(path: Path) -> None:
    """Refuse a picture's file name that says no format.

    Raises:
        CouplingError: if the suffix is none of ``SUFFIXES``.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise CouplingError(f"{path} must end in {', '.join(SUFFIXES)}: its suffix decides the picture's format")


def squares(count: int, side: float = 0) -> Figure:
    """A figure for so many square pictures in a row and one color bar; one alone is larger.

    ``side``, in inches, is what a picture needs to show each of its cells; 12 at most are given.
    """
    side = min(12.0, max(side, 0.6 * WIDTH if count == 1 else 2.35))
    return new_figure(side + (0.75 if count == 1 else 1.05), max(WIDTH, side * count + 1.25))


_VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍"}


def printable(text: str, longest: int = 24, *, blank: str = " ") -> str:
    """A token or a name as one short line: control characters made visible, the middle left out.

    ``blank`` stands for a space; tokens show theirs as a dot.
    """
    shown = "".join(
        blank if char == " " else _VISIBLE.get(char) or
        (f"\\x{ord(char):02x}" if unicodedata.category(char)[0] == "C" else char)
        for char in text
    )  # fmt: skip
    return shown if len(shown) <= longest else f"{shown[: longest // 2 - 1]}…{shown[-(longest // 2) :]}"


def legend_name(name: object, longest: int = 40) -> str:
    """A name as a legend shows it; matplotlib leaves out what begins with an underscore."""
    shown = printable(str(name), longest)
    return f" {shown}" if shown.startswith("_") else shown


def block_ticks(axes: Axes, blocks: list[int], *, both: bool = True, most: int = 8) -> None:
    """Block numbers on the axes of a block x block image."""
    step = next(step for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 100, 1000) if len(blocks) <= step * most)
    places = list(range(0, len(blocks), step))
    axes.set_xticks(places, [str(blocks[place]) for place in places])
    if both:
        axes.set_yticks(places, [str(blocks[place]) for place in places])


def mark_on_colorbar(bar: Colorbar, value: float, label: str) -> None:
    """A line across the color bar at a value, named beside it."""
    low, high = bar.mappable.get_clim()
    place = min(max(value, low), high)
    bar.ax.axhline(place, color="#D55E00", linewidth=2.5)
    bar.ax.annotate(
        label, (0, place), xycoords=("axes fraction", "data"), xytext=(-3, 0), textcoords="offset points",
        ha="right", va="center", fontsize=8, color="#a34700", annotation_clip=False,
    ).set_in_layout(False)  # fmt: skip


def enlarge_text(factor: float) -> None:
    """Scale the texts that are made from here on with a picture that is larger than usual; inside ``styled``."""
    if factor > 1.2:
        for name in ("font.size", "axes.labelsize", "axes.titlesize", "legend.fontsize", "xtick.labelsize",
                     "ytick.labelsize"):  # fmt: skip
            mpl.rcParams[name] = factor * float(mpl.rcParams[name])


def plain_log_ticks(axis: Axis) -> None:
    """Powers of ten as numbers: without mathematical text matplotlib would print its markup."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_above(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int = 3) -> None:
    """A legend over the axes that makes its own room; beyond 30 names it says how many more there are."""
    handles, labels = list(handles), list(labels)
    if len(labels) > MOST_NAMES:
        more = len(labels) - MOST_NAMES + 1
        handles = [*handles[: MOST_NAMES - 1], Line2D([], [], linestyle="")]
        labels = [*labels[: MOST_NAMES - 1], f"and {more} more"]
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, rows - 2))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def line_look(index: int) -> dict[str, Any]:
    """Color and, once the colors are used up, line style of the n-th of many lines."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": LINES[index // len(PALETTE) % len(LINES)]}


def shades(count: int, cmap: Colormap = DEPTH) -> list[tuple[float, float, float, float]]:
    """So many colors along a map, its palest end left out."""
    return [cmap(0.88 * index / max(1, count - 1)) for index in range(count)]
