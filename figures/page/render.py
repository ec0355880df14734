"""One HTML page from runs: the charts of every section, and the template that they are put into."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jinja2
import pandas as pd
import vl_convert
import xarray as xr
from markupsafe import Markup

from coupling.choices import Picture
from coupling.dataset import input_word, is_depth
from coupling.figures.page.circle import circle_chart
from coupling.figures.page.contents import MEAN, SECTIONS, Extent, controls_of, notes_on, summary_of
from coupling.figures.page.heatmap import heatmap_chart
from coupling.figures.page.image import has_images, image_chart
from coupling.figures.page.linearity import linearity_chart
from coupling.figures.page.pairs import join_scales, pair_rows
from coupling.figures.page.scatter import scatter_chart
from coupling.figures.page.spectrum import spectrum_chart
from coupling.figures.page.trajectory import trajectory_chart
from coupling.figures.page.vega import ChartWithData
from coupling.figures.selection import run_names
from coupling.version import __version__

INK: dict[str, Any] = {"labelColor": "currentColor", "titleColor": "currentColor"}
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": 'system-ui, "DejaVu Sans", sans-serif',
    "view": {"stroke": None},
    "axis": INK
    | {
        "domainColor": "currentColor",
        "tickColor": "currentColor",
        "gridColor": "#8884",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": INK | {"titleFontWeight": "normal"},
    "text": {"color": "currentColor"},
}
"""The look of all charts: their ink is the page's, which depends on the reader's light or dark setting."""


@dataclass(frozen=True)
class Points:
    """The scatter's table and the names of its axes."""

    table: pd.DataFrame
    score_label: str
    benchmark_label: str


def render(
    runs: Sequence[xr.Dataset], extent: Extent, *, points: Points | None = None, left_out_ks: Sequence[int] = ()
) -> str:
    """The page of runs that were measured at the same K.

    Args:
        runs: the runs.
        extent: how much of them the page contains.
        points: what the scatter draws; None leaves it out.
        left_out_ks: every K that only some of the runs had; the page mentions them.

    Raises:
        CouplingError: if the scatter's table lacks a column or a complete row.
    """
    names = run_names(runs)
    return _template().render(
        runs=[summary_of(run, name) for run, name in zip(runs, names, strict=True)],
        inputs=f"{input_word(*runs)}s",
        controls=controls_of(runs, extent),
        notes=notes_on(runs, extent, left_out_ks),
        sections=_sections(runs, names, extent, points),
        library=Markup(_library()),
        config=CONFIG,
        version=__version__,
    )


def _sections(
    runs: Sequence[xr.Dataset], names: Sequence[str], extent: Extent, points: Points | None
) -> list[dict[str, Any]]:
    prompts = [MEAN, *range(extent.prompts)]
    tables = [pair_rows(run, prompts, extent.tokens) for run in runs]
    join_scales(tables)
    pairs = list(zip(runs, tables, strict=True))
    sections = [
        _section("heatmap", names, [heatmap_chart(run, rows) for run, rows in pairs]),
        _section("circle", names, [circle_chart(run, rows) if is_depth(run) else None for run, rows in pairs]),
        _section("spectrum", names, [spectrum_chart(run, prompts) for run in runs]),
        _section("trajectory", names, [trajectory_chart(run, prompts) for run in runs]),
        _section("linearity", [""], [linearity_chart(runs, names, prompts)]),
    ]
    if any(map(has_images, runs)):
        sections.insert(0, _section("image", names, [image_chart(run, prompts) for run in runs]))
    if points is not None:
        chart = scatter_chart(points.table, points.score_label, points.benchmark_label)
        sections.append(_section("scatter", [""], [chart]))
    return sections


def _section(
    picture: Picture | Literal["image"], names: Sequence[str], charts: Sequence[ChartWithData | None]
) -> dict[str, Any]:
    texts = SECTIONS[picture]
    return {
        "id": picture,
        "title": texts.title,
        "how": texts.how_to_read,
        "charts": [
            {"name": name, "spec": None if chart is None else chart.specification(), "missing": texts.if_missing}
            for name, chart in zip(names, charts, strict=True)
        ],
    }


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, for use inside a script element."""
    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _template() -> jinja2.Template:
    source = files("coupling.figures.page").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return environment.from_string(source)
