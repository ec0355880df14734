"""The report: one HTML file with a summary, controls and interactive charts, that fetches nothing.

This module needs only the base install; the packages that draw the page are imported when a report is made.
"""

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from coupling.dataset import is_depth
from coupling.errors import CouplingError, require
from coupling.figures.page.contents import Extent
from coupling.figures.selection import Runs, as_runs
from coupling.shares import find_k, shared_ks

MOST_BYTES = 5_000_000
MOST_PROMPTS = 200
LEAST_TOKENS = 8


def report(
    runs: Runs,
    *,
    scores: pd.DataFrame | None = None,
    score_label: str = "coupling 1 − m",
    benchmark_label: str = "benchmark score",
    most_bytes: int = MOST_BYTES,
) -> str:
    """One self-contained HTML page of one run or of several, side by side.

    The reader can choose among what all of the runs have: their common K, prompts and blocks. Prompts whose numbers
    would make the page larger than ``most_bytes`` are left out, from the last, and the page says so; the mean is still
    over all prompts.

    Args:
        runs: Datasets of ``measure``, ``analyze`` or ``open_run``.
        scores: table of the picture ``scatter`` (``coupling.figures.columns.SCATTER``).
        score_label: the name of the scatter's horizontal axis.
        benchmark_label: the name of its vertical axis.
        most_bytes: the size that the page must not exceed.

    Returns:
        The page's HTML text.

    Raises:
        CouplingError: if no run was given, the runs share no K, a table lacks a column, the page cannot be made small
            enough, or the packages of the extra ``report`` are not installed.
    """
    require("altair", "jinja2", "vl_convert", purpose="the report")
    from coupling.figures.page.render import Points, render

    given = as_runs(runs)
    ks = shared_ks(given)
    chosen = [run.sel(k=[find_k(run, k) for k in ks]) for run in given]
    kept, measured = ({k for run in listed for k in run.k.values.tolist()} for listed in (chosen, given))
    left_out_ks = sorted(measured - kept)
    points = None if scores is None else Points(scores, score_label, benchmark_label)
    extent = Extent(
        prompts=min(MOST_PROMPTS, *(run.sizes["prompt"] for run in chosen)),
        tokens=max(run.sizes["token"] for run in chosen),
    )
    while True:
        page = render(chosen, extent, ks=ks, points=points, left_out_ks=left_out_ks)
        size = len(page.encode())
        if size <= most_bytes:
            return page
        extent = _smaller(chosen, extent, size, most_bytes)


def _smaller(runs: Sequence[xr.Dataset], extent: Extent, size: int, most_bytes: int) -> Extent:
    """A smaller part of the runs, for a page that was too large: first fewer prompts, then fewer tokens.

    Raises:
        CouplingError: if nothing more can be left out.
    """
    if extent.prompts > 1:
        fitting = int(0.95 * extent.prompts * most_bytes / size)
        return Extent(max(1, min(extent.prompts - 1, fitting)), extent.tokens)
    if extent.tokens > LEAST_TOKENS and not all(is_depth(run) for run in runs):
        return Extent(1, max(LEAST_TOKENS, int(0.7 * extent.tokens)))
    raise CouplingError(
        f"the report of these runs takes {size / 1e6:.1f} MB, more than {most_bytes / 1e6:.1f}; give fewer runs, or "
        "measure fewer K"
    )
