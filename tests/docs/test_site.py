"""The site is built without a warning, and fetches nothing."""

import logging
import re
from html.parser import HTMLParser

import pytest

from tests.docs.pages import ROOT

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that make a browser fetch something, and the attribute that says what."""
NOT_FETCHED = {"canonical", "prev", "next", "alternate"}
"""Relations of a link that a browser does not follow by itself."""


class Fetched(HTMLParser):
    """Collects what a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in LOADED and attributes.get("rel") not in NOT_FETCHED and attributes.get(LOADED[tag]):
            self.found.append(attributes[LOADED[tag]])


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        for address in parser.found:
            assert not re.match(r"(https?:)?//", address), f"{page.relative_to(site)} fetches {address}"
            if page.name != "404.html":
                assert (page.parent / address.split("?")[0].split("#")[0]).exists(), address


def test_no_style_sheet_fetches_anything_from_elsewhere(site):
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_every_command_has_its_reference(site):
    page = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    for command in ("analyze", "show", "diff", "correlate", "plot", "report", "rl"):
        assert f'id="coupling-{command}"' in page
    assert "<!-- commands -->" not in page
    assert "<code>--output</code>, <code>-o</code> <em>path</em>" in page
    assert "--blocks</code> <em>text" in page  # of plot; the former option of analyze is hidden
    analyze = page.split('id="coupling-analyze"')[1].split('id="coupling-show"')[0]
    assert "--block-list" in analyze
    assert "<code>--blocks</code>" not in analyze


def test_formulas_are_drawn(site):
    page = (site / "concepts" / "what-is-measured" / "index.html").read_text(encoding="utf-8")
    assert page.count('<div class="formula"><svg') == 4
    assert "\\frac" not in re.sub(r'aria-label="[^"]*"', "", page)
    assert "math::" not in (site / "reference" / "api" / "index.html").read_text(encoding="utf-8")


def test_contributing_and_the_changelog_are_included(site):
    assert "Set up" in (site / "contributing" / "index.html").read_text(encoding="utf-8")
    assert "0.1.0" in (site / "changelog" / "index.html").read_text(encoding="utf-8")


def test_a_link_to_a_file_that_does_not_exist_is_a_warning(caplog, monkeypatch):
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    import repository

    page = ROOT / "docs" / "index.md"
    with caplog.at_level(logging.WARNING):
        shown = repository._with_links("[a](../missing.py)", page, page, None, None)
    assert shown == "[a](../missing.py)"
    assert "does not exist" in caplog.text
