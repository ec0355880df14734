"""The report: one HTML file with a summary, controls and interactive charts, that fetches nothing."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
import vl_convert
import xarray as xr
from markupsafe import Markup

from coupling.choices import VARIANTS
from coupling.errors import CouplingError
from coupling.figures.page import charts
from coupling.figures.page.vega import MEAN, Drawn
from coupling.figures.selection import Runs, as_runs, kind, pair_names, run_names, span
from coupling.figures.style import printable
from coupling.summary import summarize
from coupling.version import __version__

MOST_BYTES = 5_000_000
MOST_PROMPTS = 200

INK: dict[str, Any] = {"labelColor": "currentColor", "titleColor": "currentColor"}
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": 'system-ui, "DejaVu Sans", sans-serif',
    "view": {"stroke": None},
    "axis": INK | {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "#8884",
                   "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": INK | {"titleFontWeight": "normal"},
    "text": {"color": "currentColor"},
}  # fmt: skip

SECTIONS = {
    "heatmap": ("Heatmap", "Coupling of every ordered pair. A cell that is darker than the chance level "
                "says that the row's Jacobian is nearly diagonal in the column's singular frames."),
    "circle": ("Circle", "Blocks in order, clockwise from the top; a chord's width and opacity grow with the pair's "
               "excess over chance. Pairs at or below chance have none."),
    "spectrum": ("Spectrum", "The largest singular values of each block's Jacobian, and their reciprocals with the "
                 "least-squares line: straight where singular values fall as one over depth."),
    "trajectory": ("Trajectory", "A line a token through the residual stream, on the prompt's first two principal "
                   "components; white where it enters the first block, full where it leaves the last."),
    "linearity": ("Linearity", "Line-shape score is 1 where a token's path is straight; expodistance is 0 where its "
                  "norm grows exponentially from layer to layer. Untrained models are dashed."),
    "scatter": ("Scatter", "A point a model: its coupling against its benchmark score, and the least-squares line."),
}  # fmt: skip
MISSING = {
    "circle": "This run compares tokens; the circle is drawn from a run of kind depth.",
    "trajectory": "This run kept no residual streams; coupling analyze --detail all keeps them.",
}


def report(
    runs: Runs, *, scores: pd.DataFrame | None = None, score_label: str = "coupling 1 − m",
    benchmark_label: str = "benchmark score", most_bytes: int = MOST_BYTES,
) -> str:  # fmt: skip
    """One self-contained HTML page of one run or several, side by side.

    What all of the runs hold can be chosen: their common K, prompts and blocks. Prompts whose numbers would make the
    page larger than ``most_bytes`` are left out, from the last, and the page says so; their mean stays.

    Args:
        runs: Datasets of ``measure``, ``analyze`` or ``open_run``.
        scores: table of the picture ``scatter`` (``coupling.figures.columns.SCATTER``).
        score_label: names the scatter's horizontal axis.
        benchmark_label: names its vertical axis.
        most_bytes: size that the page must not exceed.

    Raises:
        CouplingError: if no run was given, the runs share no K, a table lacks a column, or the page cannot be made
            so small.
    """
    chosen = as_runs(runs)
    shared = _common([run.k.values.tolist() for run in chosen])
    if not shared:
        raise CouplingError(f"the runs share no K: they hold {', '.join(str(run.k.values.tolist()) for run in chosen)}")
    dropped = sorted({k for run in chosen for k in run.k.values.tolist()} - set(shared))
    chosen = [run.sel(k=shared) for run in chosen]
    prompts = min(MOST_PROMPTS, *(run.sizes["prompt"] for run in chosen))
    tokens = max(run.sizes["token"] for run in chosen)
    while True:
        page = _page(chosen, prompts, tokens, scores, score_label, benchmark_label, dropped)
        size = len(page.encode())
        if size <= most_bytes:
            return page
        if prompts > 1:
            prompts = max(1, min(prompts - 1, int(0.95 * prompts * most_bytes / size)))
        elif any(kind(run) != "depth" for run in chosen) and tokens > 8:
            tokens = max(8, int(0.7 * tokens))
        else:
            raise CouplingError(
                f"the report of these runs takes {size / 1e6:.1f} MB, more than {most_bytes / 1e6:.1f}; "
                "give fewer runs, or measure fewer K"
            )


def _page(
    runs: Sequence[xr.Dataset], prompts: int, tokens: int, scores: pd.DataFrame | None, score_label: str,
    benchmark_label: str, dropped: list[int],
) -> str:  # fmt: skip
    names = run_names(runs)
    numbers = [MEAN, *range(prompts)]
    tables = [charts.pair_rows(run, numbers, tokens) for run in runs]
    charts.join_scales(tables)
    each = list(zip(runs, tables, strict=True))
    drawn: dict[str, list[Any]] = {
        "heatmap": [charts.heatmap_chart(run, rows) for run, rows in each],
        "circle": [charts.circle_chart(run, rows) if kind(run) == "depth" else None for run, rows in each],
        "spectrum": [charts.spectrum_chart(run, numbers) for run in runs],
        "trajectory": [charts.trajectory_chart(run, numbers) for run in runs],
    }
    sections = [_section(name, list(zip(names, made, strict=True))) for name, made in drawn.items()]
    sections.append(_section("linearity", [("", charts.linearity_chart(runs, names, numbers))]))
    if scores is not None:
        sections.append(_section("scatter", [("", charts.scatter_chart(scores, score_label, benchmark_label))]))
    return _template().render(
        runs=[_summary(run, name) for run, name in zip(runs, names, strict=True)],
        controls=_controls(runs, prompts), notes=_notes(runs, prompts, tokens, dropped), sections=sections,
        library=Markup(_library()), config=CONFIG, version=__version__,
    )  # fmt: skip


def _section(name: str, drawn: Sequence[tuple[str, Drawn | None]]) -> dict[str, Any]:
    title, how = SECTIONS[name]
    specs = [
        {"name": label, "spec": None if chart is None else chart.specification(), "missing": MISSING.get(name, "")}
        for label, chart in drawn
    ]
    return {"id": name, "title": title, "how": how, "charts": specs}


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, for use inside a script element."""
    return vl_convert.javascript_bundle().replace("</script", "<\\/script").replace("<!--", "<\\!--")  # type: ignore[call-arg]


@cache
def _template() -> jinja2.Template:
    source = files("coupling.figures.page").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return environment.from_string(source)


def _summary(run: xr.Dataset, name: str) -> dict[str, Any]:
    summary = summarize(run)
    scores = [
        {"k": row["k"], "norm": row["norm"], "score": _number(row["score"]), "sd": _number(row["sd_over_prompts"]),
         "chance": _number(row["chance"]), "excess": "–" if row["excess"] is None else f"{100 * row['excess']:z.1f} %"}
        for row in summary["scores"] if row["variant"] == "absolute"
    ]  # fmt: skip
    provenance = [(key, value) for key, value in summary["provenance"].items() if value != ""]
    return {"name": name, "kind": kind(run), "blocks": summary["blocks"], "prompts": summary["prompts"],
            "scores": scores, "provenance": provenance}  # fmt: skip


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def _controls(runs: Sequence[xr.Dataset], prompts: int) -> list[dict[str, Any]]:
    ks = reversed(runs[0].k.values.tolist())
    controls: list[dict[str, Any]] = [
        {"name": "k", "label": "K", "options": [(k, k) for k in ks]},
        {"name": "p", "label": "p", "options": [(2, "2 (Frobenius)"), (1, "1 (trace)")]},
        {"name": "variant", "label": "variant", "options": [(variant.label, variant.label) for variant in VARIANTS]},
        {"name": "prompt", "label": "prompt", "options": [(MEAN, "mean over prompts"), *_prompt_names(runs, prompts)]},
    ]
    pairs = [pair_names(run) for run in runs if kind(run) != "depth"]
    blocks = [name for name in pairs[0] if all(name in other for other in pairs)] if pairs else []
    if blocks:
        controls.append({"name": "block", "label": "block", "options": [(block, block) for block in blocks],
                         "chosen": blocks[(len(blocks) - 1) // 2]})  # fmt: skip
    return controls


def _common(lists: Sequence[list[int]]) -> list[int]:
    """The numbers that all lists hold, ascending; none for no lists."""
    return sorted(set(lists[0]).intersection(*lists[1:])) if lists else []


def _prompt_names(runs: Sequence[xr.Dataset], prompts: int) -> list[tuple[int, str]]:
    """Each prompt's number, with its text where all runs that have it agree on it."""
    names = []
    for number in range(prompts):
        texts = {str(run.prompt_text.values[number]) for run in runs if "prompt_text" in run}
        text = f": {printable(texts.pop(), 60)}" if len(texts) == 1 else ""
        names.append((number, f"{number}{text}"))
    return names


def _notes(runs: Sequence[xr.Dataset], prompts: int, tokens: int, dropped: list[int]) -> list[str]:
    notes = []
    if dropped:
        notes.append(f"K = {', '.join(map(str, dropped))} is left out: not all runs hold it.")
    counts = {run.sizes["prompt"] for run in runs}
    if len(counts) > 1:
        notes.append("The runs differ in how many prompts they have; those that all have can be chosen.")
    if prompts < min(counts):
        notes.append(
            f"To keep this page small it holds prompts {span(list(range(prompts)))} of {min(counts)}; "
            "means, where they are shown, are over all of them."
        )
    if any(kind(run) != "depth" and run.sizes["token"] > tokens for run in runs):
        notes.append(f"To keep this page small, pairs of tokens are shown for the first {tokens} measured ones.")
    hashes = {str(run.attrs.get("prompts_hash", "")) for run in runs}
    if len(hashes) > 1:
        notes.append("The runs were measured on different prompts.")
    return notes
