"""The report: one HTML file with a summary, controls and interactive charts, that fetches nothing.

This module needs only the base install; the package that fills the template is imported when a report is made.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import xarray as xr

from coupling.dataset import is_depth
from coupling.errors import CouplingError, require
from coupling.figures.page.section import Extent, Material, Points
from coupling.figures.selection import Runs, as_runs
from coupling.shares import find_k, shared_ks
from coupling.sinks import skipped

MOST_BYTES = 5_000_000
MOST_PROMPTS = 200
LEAST_TOKENS = 8
MOST_SKIPPED = 3
"""The reader can leave out at least this many first tokens, where prompts are long enough."""


def report(
    runs: Runs,
    *,
    scores: pd.DataFrame | None = None,
    score_label: str = "coupling 1 − m",
    benchmark_label: str = "benchmark score",
    skip_first: int | None = None,
    directions: Sequence[pd.DataFrame] = (),
    command: str = "",
    date: str = "",
    most_bytes: int = MOST_BYTES,
) -> str:
    """One self-contained HTML page of one run or of several, side by side.

    The reader can choose among what all of the runs have: their common K, prompts and blocks. Where the page would be
    larger than ``most_bytes``, the numbers of single prompts are rounded; then their variants but the absolute one are
    left out; then prompts, from the last. The page says so, and the mean is still over all prompts.

    Args:
        runs: Datasets of ``measure``, ``analyze`` or ``open_run``.
        scores: table of the picture ``scatter`` (``coupling.figures.columns.SCATTER``).
        score_label: the name of the scatter's horizontal axis.
        benchmark_label: the name of its vertical axis.
        skip_first: how many first tokens are left out of measures of tokens at first; the reader can change it.
            Default: 1 where the first token's norm dwarfs the others' in any of the runs, otherwise 0.
        directions: tables of ``coupling.directions`` that the page shows.
        command: what wrote the page, which it says.
        date: when it was written, which it says.
        most_bytes: the size that the page must not exceed.

    Returns:
        The page's HTML text.

    Raises:
        CouplingError: if no run was given, the runs share no K, ``skip_first`` leaves no token, a table lacks a column,
            the page cannot be made small enough, or the package of the extra ``report`` is not installed.
    """
    require("jinja2", purpose="the report")
    from coupling.figures.page.render import Origin, render

    given = as_runs(runs)
    ks = shared_ks(given)
    chosen = [run.sel(k=[find_k(run, k) for k in ks]) for run in given]
    kept, measured = ({k for run in listed for k in run.k.values.tolist()} for listed in (chosen, given))
    left_out_ks = sorted(measured - kept)
    first_skip = max(skipped(run, skip_first) for run in chosen)
    extent = Extent(
        prompts=min(MOST_PROMPTS, *(run.sizes["prompt"] for run in chosen)),
        tokens=max(run.sizes["token"] for run in chosen),
    )
    points = None if scores is None else Points(scores, score_label, benchmark_label)
    while True:
        material = Material(
            chosen, extent, _skips(chosen, first_skip), points, skip_first=skip_first, ks=ks, directions=directions
        )
        page = render(
            material,
            first_skip=first_skip,
            left_out_ks=left_out_ks,
            origin=Origin(command, date),
        )
        size = len(page.encode())
        if size <= most_bytes:
            return page
        extent = _smaller(chosen, extent, size, most_bytes)


def _skips(runs: Sequence[xr.Dataset], first_skip: int) -> list[int]:
    """The numbers of first tokens that the reader can leave out: those that leave a token in every run."""
    shortest = min(int(run.n_tokens.max()) if "n_tokens" in run else run.sizes["token"] for run in runs)
    return sorted({*range(min(MOST_SKIPPED + 1, shortest)), first_skip})


def _smaller(runs: Sequence[xr.Dataset], extent: Extent, size: int, most_bytes: int) -> Extent:
    """Less of the runs, for a page that was too large: precision first, then variants, prompts and tokens.

    Raises:
        CouplingError: if nothing more can be left out.
    """
    if extent.bits > 8:
        return replace(extent, bits=8)
    if extent.variants > 1:
        return replace(extent, variants=1)
    if extent.prompts > 1:
        fitting = int(0.95 * extent.prompts * most_bytes / size)
        return replace(extent, prompts=max(1, min(extent.prompts - 1, fitting)))
    if extent.tokens > LEAST_TOKENS and not all(is_depth(run) for run in runs):
        return replace(extent, tokens=max(LEAST_TOKENS, int(0.7 * extent.tokens)))
    raise CouplingError(
        f"the report of these runs takes {size / 1e6:.1f} MB, more than {most_bytes / 1e6:.1f}; give fewer runs, or "
        "measure fewer K"
    )
