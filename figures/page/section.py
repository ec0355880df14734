"""What a section of the report is, and what it is made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import xarray as xr

from coupling.choices import VARIANTS
from coupling.figures.selection import run_names
from coupling.shares import K
from coupling.sinks import without_first
from coupling.summary import summarize

MEAN = -1
"""The number that stands for the mean over prompts instead of one prompt."""


@dataclass(frozen=True)
class Extent:
    """How much of the runs a page contains, and how precisely.

    Attributes:
        prompts: how many prompts can be chosen, from the first.
        tokens: how many measured tokens are shown where tokens are compared, from the first.
        bits: bits of a number of a single prompt.
        variants: how many variants of a single prompt, from the first.
    """

    prompts: int
    tokens: int
    bits: int = 16
    variants: int = len(VARIANTS)


@dataclass(frozen=True)
class Points:
    """The scatter's table and the names of its axes."""

    table: pd.DataFrame
    score_label: str
    benchmark_label: str


@dataclass(frozen=True)
class Material:
    """What sections draw: runs at the same K, and how much of them.

    Attributes:
        runs: the runs.
        extent: how much of them the page contains.
        skips: the numbers of first tokens that the reader can leave out.
        points: the scatter's table; None leaves the scatter out.
        skip_first: how many first tokens the numbers in sentences and tables leave out; see ``coupling.summarize``.
        ks: every K of the runs; a share of the width is another number in each run. Default: the first run's numbers.
        directions: tables of ``coupling.directions``.
        names: a name for each run.
    """

    runs: Sequence[xr.Dataset]
    extent: Extent
    skips: Sequence[int] = (0,)
    points: Points | None = None
    skip_first: int | None = None
    ks: Sequence[K] = ()
    directions: Sequence[pd.DataFrame] = ()
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", run_names(self.runs))
        if not self.ks:
            object.__setattr__(self, "ks", self.runs[0].k.values.tolist())

    @property
    def prompts(self) -> list[int]:
        """The mean over prompts, and the prompts that can be chosen."""
        return [MEAN, *range(self.extent.prompts)]

    @property
    def k_names(self) -> list[str]:
        """What each K is called."""
        return [f"{k} of the width" if isinstance(k, str) else str(k) for k in self.ks]

    @cached_property
    def compared(self) -> list[xr.Dataset]:
        """The runs without the first tokens that averages over pairs of tokens leave out."""
        return [without_first(run, self.skip_first) for run in self.runs]

    @cached_property
    def summaries(self) -> list[dict[str, Any]]:
        """The summary of each run (see ``coupling.summarize``)."""
        return [summarize(run, skip_first=self.skip_first) for run in self.runs]


@dataclass(frozen=True)
class Section:
    """One section of the page. Its charts are drawn by the file ``scripts/NAME.js``.

    Attributes:
        name: part of the ids of its elements, and the name of its script.
        title: its heading.
        how_to_read: what its charts show.
        data: what its charts draw: one value per run, None where there is nothing to draw. Where ``joint`` is true,
            one value for all runs.
        if_missing: what stands in the place of a chart that cannot be drawn.
        panels: the charts of one run, by name, with their titles.
        joint: all runs are drawn in the same chart.
        needed: whether the page has this section at all.
        wide: takes a whole row of the page even if there is one run.
    """

    name: str
    title: str
    how_to_read: str
    data: Callable[[Material], list[Any]]
    if_missing: str = ""
    panels: Sequence[tuple[str, str]] = (("", ""),)
    joint: bool = False
    needed: Callable[[Material], bool] = lambda material: True
    wide: bool = False


def key(*parts: object) -> str:
    """The name of a choice of the controls in a section's data.

    Example:
        >>> key(0, 2, "absolute", -1)
        '0,2,absolute,-1'
    """
    return ",".join(map(str, parts))
