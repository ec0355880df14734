"""The template: which sections it has, and that texts stay texts."""

import json
import re

import pandas as pd
import pytest

from coupling.figures.page.contents import SECTIONS, Extent
from coupling.figures.page.render import Points, render
from tests.figures.page.helpers import hostile_run, specifications

EXTENT = Extent(prompts=2, tokens=100)


@pytest.fixture(scope="module")
def page(run):
    return render([run], EXTENT)


def test_untrusted_text_stays_text(run, page):
    hostile = render([hostile_run(run)], EXTENT)
    for tag in ("<script", "</script", "</title", "<img"):
        assert hostile.count(tag) == page.count(tag), tag


def test_every_section_is_on_the_page_with_its_text(run, page):
    points = Points(pd.DataFrame({"model": ["a"], "score": [1.0], "benchmark": [2.0]}), "score", "accuracy")
    with_scatter = render([run], EXTENT, points=points)
    for name, section in SECTIONS.items():
        if name == "image":
            continue
        assert f'<section id="{name}"' in with_scatter
        assert section.how_to_read.replace("'", "&#39;") in with_scatter
    assert '<section id="scatter"' not in page
    assert '<section id="image"' not in page  # of a run of prompts
    assert '"title":"accuracy"' in json.dumps(specifications(with_scatter)[-1], separators=(",", ":"))


def test_only_the_prompts_of_the_extent_are_on_the_page(page):
    heatmap, *_ = specifications(page)
    assert {row["t"] for row in heatmap["datasets"]["rows"]} == {-1, 0, 1}


def test_nothing_is_fetched(page):
    assert "default-src 'none'" in page  # the browser refuses to fetch anything
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "<body>" in markup
    assert "src=" not in markup
    assert "<link" not in markup


def test_a_chart_that_cannot_be_drawn_says_why(run):
    page = render([run.drop_vars("residual_stream")], EXTENT)
    assert SECTIONS["trajectory"].if_missing in page
    assert 'id="trajectory-0"' not in page
