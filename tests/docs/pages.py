"""What tests read from pages of the documentation: their text on one line, and the cells of their tables."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def text_of(page: str) -> str:
    """A page's text with every run of white space as one space."""
    return re.sub(r"\s+", " ", (DOCS / page).read_text(encoding="utf-8"))


def tables_of(page: str) -> list[list[list[str]]]:
    """The tables of a page, each as rows of cells, with the header first."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            tables.append([])
        inside = True
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not set("".join(cells)) <= {"-"}:
            tables[-1].append(cells)
    return tables
