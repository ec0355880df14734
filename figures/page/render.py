"""One HTML page from runs: the data of every section, and the template that they are put into."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from coupling.dataset import input_word, is_depth
from coupling.figures.page.contents import SECTIONS, controls_of, notes_on
from coupling.figures.page.directions import direction_tables
from coupling.figures.page.opening import calibrated_rows, comparison, opening, provenance, title
from coupling.figures.page.pairs import pair_tables
from coupling.figures.page.section import Material, Section
from coupling.figures.selection import is_random, kind, pair_names
from coupling.untrusted import clean
from coupling.version import __version__

SCRIPTS = ("core", "color", "data", "axes", "matrix", "chart")
"""What the sections' scripts use, in order; ``main`` comes last."""


@dataclass(frozen=True)
class Origin:
    """What wrote the page, and when; empty where it is not known."""

    command: str = ""
    date: str = ""


def render(
    material: Material,
    *,
    first_skip: int = 0,
    left_out_ks: Sequence[int] = (),
    origin: Origin | None = None,
) -> str:
    """The page of runs that were measured at the same K.

    Args:
        material: the runs, and how much of them the page contains.
        first_skip: how many first tokens are left out at first.
        left_out_ks: every K that only some of the runs had; the page mentions them.
        origin: what wrote the page, and when.

    Raises:
        CouplingError: if the scatter's table lacks a column or a complete row.
    """
    origin = origin or Origin()
    needed = [section for section in SECTIONS if section.needed(material)]
    data = {section.name: section.data(material) for section in needed}
    return page_of(
        "report.html.jinja",
        tuple(section.name for section in SECTIONS),
        title=title(material),
        opening=opening(material, first_skip),
        comparison=comparison(material),
        calibrated=calibrated_rows(material),
        directions=direction_tables(material.directions),
        provenance=provenance(material),
        controls=controls_of(material, first_skip),
        notes=notes_on(material, left_out_ks),
        sections=[_section(section, material, data[section.name]) for section in needed],
        several=len(material.runs) > 1,
        inputs=f"{input_word(*material.runs)}s",
        data={
            "ks": material.k_names,
            "runs": [_run(run, name) for run, name in zip(material.runs, material.names, strict=True)],
            "pairs": pair_tables(material),
            "sections": data,
        },
        command=clean(origin.command, 1000),
        date=origin.date,
    )


def page_of(template: str, drawn_by: tuple[str, ...], **content: Any) -> str:
    """A page with the style and the scripts of its sections.

    Args:
        template: its file in this folder.
        drawn_by: the names of the scripts that draw its charts.
        **content: what the template is filled with.
    """
    script = _script(drawn_by)
    return _template(template).render(
        style=Markup(_file("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
        **content,
    )


def _run(run: Any, name: str) -> dict[str, Any]:
    """What several charts need of a run."""
    depth = is_depth(run)
    return {
        "name": name,
        "kind": kind(run),
        "depth": depth,
        "random": is_random(run),
        "ks": run.k.values.tolist(),
        "blocks": run.block.values.tolist() if depth else pair_names(run),
    }


def _section(section: Section, material: Material, data: list[Any]) -> dict[str, Any]:
    """A section's texts and the places of its charts."""
    names = [""] if section.joint or len(material.runs) == 1 else material.names
    charts = []
    for index, (name, drawn) in enumerate(zip(names, data, strict=True)):
        if section.name == "difference" and index == 0:
            continue  # the first run is what the others are compared with
        panels = section.panels if drawn is not None else (("", ""),)
        charts += [
            {
                "id": "-".join(part for part in (section.name, str(index), panel) if part),
                "run": index,
                "panel": panel,
                "name": ": ".join(part for part in (name, heading) if part),
                "drawn": drawn is not None,
                "panels": len(section.panels),
            }
            for panel, heading in panels
        ]
    return {
        "name": section.name,
        "title": section.title,
        "how": section.how_to_read,
        "missing": section.if_missing,
        "wide": section.wide or len(names) > 1,
        "charts": charts,
    }


@cache
def _script(sections: tuple[str, ...]) -> str:
    """All scripts, for use inside a script element."""
    names = [*SCRIPTS, *sections, "main"]
    text = "\n".join(_file(f"scripts/{name}.js") for name in names)
    assert not re.search(r"</script|<!--", text)
    return f'\n"use strict";\n{text}\n'


def _file(name: str) -> str:
    return files("coupling.figures.page").joinpath(name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return environment.from_string(_file(name))
