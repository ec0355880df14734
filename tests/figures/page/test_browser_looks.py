"""The report in a real browser at two widths and in two themes: that nothing is cut off, hidden or hard to read."""

import pandas as pd
import pytest

from coupling.figures import report
from tests.figures.page.browser import SCHEMES, WIDTHS, serious

pytestmark = pytest.mark.browser
SCORES = pd.DataFrame({"model": ["a", "b", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1.0, 2.0, 4.0]})


@pytest.fixture(scope="module")
def pages(run, untrained, token_run):
    return {
        "one run": report(run, command="coupling report " + "runs/long-name/" * 12, date="2026-01-02"),
        "several runs": report([run, untrained, token_run], scores=SCORES),
    }


@pytest.mark.parametrize("which", ["one run", "several runs"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious(opened, pages, which, width, scheme):
    page = opened(pages[which], width=width, color_scheme=scheme)
    for summary in page.locator("footer summary").all():
        summary.click()
    page.focus(".chart >> nth=0")
    page.keyboard.press("ArrowRight")
    assert serious(page) == []


@pytest.mark.parametrize("which", ["one run", "several runs"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_or_covered(opened, pages, which, width):
    page = opened(pages[which], width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = page.evaluate("""() =>
        [...document.querySelectorAll("h1, h2, h3, p, li, .compared, .chart svg text, select")]
        .filter((node) => node.getClientRects().length && !node.closest(".unseen, .skip, footer"))
        .map((node) => [node.getBoundingClientRect(), node.textContent])
        .filter(([box]) => box.right > innerWidth + 1 || box.left < -1).map(([, text]) => text.slice(0, 60))""")
    assert beyond == []
    assert page.evaluate("getComputedStyle(document.getElementById('controls')).position") == (
        "sticky" if width == 1280 else "static"
    )
    table = page.locator(".scroll").first
    if which == "several runs":
        assert table.evaluate("(node) => node.scrollWidth <= node.clientWidth + 1")


def test_the_charts_use_the_width(opened, pages):
    page = opened(pages["one run"])
    left, right = (page.locator(f"#{name}").bounding_box() for name in ("heatmap", "strongest"))
    assert left["y"] == right["y"]
    assert right["x"] + right["width"] > 1280 - 40
    narrow = opened(pages["one run"], width=400)
    left, right = (narrow.locator(f"#{name}").bounding_box() for name in ("heatmap", "strongest"))
    assert right["y"] > left["y"] + left["height"]
    assert left["width"] > 360


def test_charts_have_names_and_their_marks_are_hidden(opened, pages):
    page = opened(pages["several runs"])
    charts = page.locator(".chart")
    names = charts.evaluate_all("(nodes) => nodes.map((node) => node.getAttribute('aria-label'))")
    assert len(set(names)) == len(names)
    assert names[0].startswith("Every pair, bundled (depth): Mean excess ")
    hidden = charts.evaluate_all(
        "(nodes) => nodes.map((node) => node.querySelector('svg').getAttribute('aria-hidden'))"
    )
    assert set(hidden) == {"true"}


def test_the_map_is_dark_at_chance_on_a_dark_page(opened, pages):
    for scheme, is_dark in (("light", False), ("dark", True)):
        page = opened(pages["one run"], color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
        brightness = sum(int(part) for part in paper[4:-1].split(",")) / 3
        assert (brightness < 60) == is_dark
        at_chance, strongest = page.evaluate("[0, 1].map((value) => scaleAround(0, -1, 1).color(value))")
        assert (sum(at_chance) / 3 < 60) == is_dark
        assert abs(sum(at_chance) / 3 - brightness) < 30
        assert abs(sum(strongest) / 3 - brightness) > 120
        ink = page.evaluate("getComputedStyle(document.querySelector('#heatmap-0 svg text')).fill")
        assert (sum(int(part) for part in ink[4:-1].split(",")) > 3 * 150) == is_dark


def test_the_page_prints_in_light_colors(opened, pages):
    page = opened(pages["one run"], color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert sum(page.evaluate("scaleAround(0, -1, 1).color(0)")) > 3 * 230
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(page.pdf()) > 20_000


def test_the_charts_follow_the_width(opened, pages):
    page = opened(pages["one run"])
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("document.querySelector('#heatmap-0 svg').getBoundingClientRect().width < 400")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
