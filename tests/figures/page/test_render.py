"""The template: which sections it has, and that texts stay texts."""

import base64
import hashlib
import re

import pandas as pd
import pytest

from coupling.figures.page.contents import SECTIONS
from coupling.figures.page.render import Origin, render
from coupling.figures.page.section import Extent, Material, Points
from tests.figures.page.helpers import hostile_run, material, page_data


@pytest.fixture(scope="module")
def page(run):
    return render(material(run, prompts=2))


def test_untrusted_text_stays_text(run, page):
    hostile = render(material(hostile_run(run), prompts=2), origin=Origin("</script>", "<img>"))
    for tag in ("<script", "</script", "</title", "<img"):
        assert hostile.count(tag) == page.count(tag), tag


def test_every_section_is_on_the_page_with_its_text(run, untrained, page):
    points = Points(pd.DataFrame({"model": ["a"], "score": [1.0], "benchmark": [2.0]}), "score", "accuracy")
    whole = render(Material([run, untrained], Extent(2, 100), points=points))
    for section in SECTIONS:
        if section.name != "image":
            assert f'<section id="{section.name}"' in whole
            assert section.how_to_read.replace("'", "&#39;") in whole
    for absent in ("image", "scatter", "difference"):
        assert f'<section id="{absent}"' not in page
    assert page_data(whole)["sections"]["scatter"][0]["labels"] == ["score", "accuracy"]
    assert [run["name"] for run in page_data(whole)["runs"]] == ["bundled", "bundled (random weights)"]


def test_only_the_prompts_of_the_extent_are_on_the_page(page):
    (pairs,) = page_data(page)["pairs"]
    assert {name.split(",")[3] for name in pairs["tables"]} == {"-1", "0", "1"}


def test_nothing_is_fetched_and_only_the_page_s_script_runs(page):
    assert "default-src 'none'" in page  # the browser refuses to fetch anything
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "<body>" in markup
    assert "src=" not in markup
    assert "<link" not in markup
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "eval(" not in script


def test_the_page_says_what_wrote_it(run, page):
    dated = render(material(run), origin=Origin("coupling report runs/mine", "2026-01-02"))
    assert '<time datetime="2026-01-02">2026-01-02</time>' in dated
    assert "<code>coupling report runs/mine</code>" in dated
    assert "<time" not in page
    assert "<title>bundled: block coupling</title>" in page
    assert "<h1>bundled</h1>" in page


def test_a_chart_that_cannot_be_drawn_says_why(run):
    page = render(material(run.drop_vars("residual_stream")))
    assert "This run kept no residual streams" in page
    assert 'id="trajectory-0"' not in page
