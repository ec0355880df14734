"""The report in a real browser: Debian's chromium, driven by Playwright."""

import io
import shutil

import matplotlib.image
import pandas as pd
import pytest

import coupling
from coupling.figures import report
from coupling.figures.style import printable
from tests.figures.page.helpers import HOSTILE, hostile_run
from tests.vision import digits, save_vit

pytestmark = pytest.mark.browser
sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright  # not needed where browsers are not


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    assert program is not None, "these tests need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a page's text from a file in a new profile; fails if the page uses the console or the network."""
    noise: list[str] = []
    contexts = []

    def open_page(text, **options):
        path = tmp_path / "report.html"
        path.write_text(text)
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("request", lambda request: noise.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]", timeout=120_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def test_an_image_is_shown_with_its_patches_and_their_coupling(opened, tmp_path_factory):
    folder = save_vit(tmp_path_factory.mktemp("models") / "vit")
    page = opened(report(coupling.analyze(folder, images=digits(2), k=3, kind="self")))
    figure = page.locator("#image-0 svg")
    assert page.locator("#image-0[aria-label^='An image'], #image-0 [aria-label^='An image']").count() == 1
    picture = figure.locator("image")
    assert picture.count() == 1
    assert picture.get_attribute("href").startswith("data:image/")
    first = picture.get_attribute("href")
    assert len(labels(page, "image-0", "row ")) == 16  # the cells of the heat map
    assert labels(page, "image-0", "image image 0, 4 x 4 patches; 16 patches were measured")
    assert (
        page.evaluate("async (uri) => { const i = new Image(); i.src = uri; await i.decode(); return i.width }", first)
        == 32
    )
    before = labels(page, "image-0", "row ")
    page.select_option("#control-prompt", "1")
    page.wait_for_function("(uri) => document.querySelector('#image-0 image').getAttribute('href') !== uri", arg=first)
    assert labels(page, "image-0", "row ") != before
    pixels = matplotlib.image.imread(io.BytesIO(page.locator("#image-0").screenshot()))[..., :3]
    assert pixels.std() > 0.03


SCORES = pd.DataFrame({"model": ["a", "b", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1.0, 2.0, 4.0]})


def labels(page, chart, start):
    return page.evaluate(
        "([chart, start]) => [...document.querySelectorAll(`#${chart} svg [aria-label]`)]"
        ".map(mark => mark.getAttribute('aria-label')).filter(label => label.startsWith(start))",
        [chart, start],
    )


def test_every_chart_is_drawn(opened, run, untrained):
    page = opened(report([run, untrained], scores=SCORES))
    assert page.locator(".chart svg").count() == 10
    for chart in page.locator(".chart").all():
        pixels = matplotlib.image.imread(io.BytesIO(chart.screenshot()))[..., :3]
        assert pixels.std() > 0.03  # not blank
    assert len(labels(page, "heatmap-0", "block b")) == 8 * 7


@pytest.mark.parametrize(
    ("control", "choice", "charts"),
    [
        ("k", "3", ["heatmap-0", "circle-0", "spectrum-0"]),
        ("p", "1", ["heatmap-0"]),
        ("variant", "swapped", ["heatmap-0", "circle-0"]),
        ("prompt", "2", ["heatmap-0", "circle-0", "spectrum-0", "trajectory-0", "linearity-0"]),
    ],
)
def test_a_control_changes_the_charts(opened, run, control, choice, charts):
    page = opened(report(run))
    before = {chart: page.inner_html(f"#{chart}") for chart in charts}
    page.select_option(f"#control-{control}", choice)
    changed = "old => document.getElementById('heatmap-0').innerHTML !== old"
    page.wait_for_function(changed, arg=before["heatmap-0"])
    for chart in charts:
        assert page.inner_html(f"#{chart}") != before[chart], chart


def test_the_keyboard_reaches_the_controls(opened, run):
    page = opened(report(run))
    before = page.inner_html("#heatmap-0")
    page.focus("#control-k")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("old => document.getElementById('heatmap-0').innerHTML !== old", arg=before)
    assert page.input_value("#control-k") == "3"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "control-p"


def test_the_chosen_numbers_are_the_run_s(opened, run):
    page = opened(report(run))
    page.select_option("#control-prompt", "1")
    page.wait_for_timeout(300)
    value = 1 - float(run.mismatch.sel(k=5, norm=2, prompt=1, block=4, other_block=6))
    (label,) = labels(page, "heatmap-0", "block b (frames): 6; block a (Jacobian): 4")
    assert f"coupling: {value:.2f}".rstrip("0") in label


def test_hovering_shows_a_value(opened, run):
    page = opened(report(run))
    page.locator("#heatmap-0 svg [aria-label^='block b (frames): 3; block a (Jacobian): 2']").hover()
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    value = 1 - float(run.mismatch.sel(k=5, norm=2, block=2, other_block=3).mean())
    assert f"{value:.4f}" in tip.inner_text()
    page.locator("#trajectory-0 svg path[aria-label*='layer: 8']").last.hover(force=True)
    tip.get_by_text("position").wait_for()


def test_untrusted_text_is_shown_and_not_run(opened, run):
    page = opened(report(hostile_run(run)))
    name = printable(HOSTILE.split("/")[-1], 40)  # a model's name is the last part of its path
    assert page.title() == f"Block coupling: {name}"
    assert page.locator("img").count() == 0
    page.locator("summary").first.click()
    assert page.locator("td", has_text=HOSTILE).count() == 2  # the model, and where its prompts come from
    page.select_option("#control-prompt", "1")
    assert page.inner_text("#control-prompt option:nth-child(3)") == "1: <script>"


def test_dark_and_paper(opened, run):
    light = opened(report(run))
    assert light.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    dark = opened(report(run), color_scheme="dark")
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    ink = dark.evaluate("getComputedStyle(document.querySelector('#heatmap-0 svg .role-axis-label text')).fill")
    assert sum(map(int, ink[4:-1].split(","))) > 3 * 150  # light ink on dark paper
    assert len(light.pdf()) > 20_000


def test_runs_that_compare_tokens(opened, run, token_run):
    page = opened(report([run, token_run]))
    before = page.inner_html("#heatmap-1")
    page.select_option("#control-block", "6")
    page.wait_for_function("old => document.getElementById('heatmap-1').innerHTML !== old", arg=before)
    tokens = int(token_run.n_tokens[0])
    assert len(labels(page, "heatmap-1", "token b")) == tokens * (tokens - 1)


def test_a_narrow_screen_does_not_scroll_sideways(opened, run, untrained):
    page = opened(report([run, untrained], scores=SCORES))
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
