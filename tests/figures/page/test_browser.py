"""The report in a real browser: that it shows the run's numbers, and reacts."""

import csv
import io

import matplotlib.image
import pandas as pd
import pytest

import coupling
from coupling.figures import report
from coupling.figures.style import printable
from coupling.figures.trajectory import paths_of, principal_components
from tests.figures.page.helpers import HOSTILE, hostile_run
from tests.vision import digits, save_vit

pytestmark = pytest.mark.browser
SCORES = pd.DataFrame({"model": ["a", "b", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1.0, 2.0, 4.0]})


def rows_of(page, chart):
    """What "Data as CSV" saves under a chart."""
    with page.expect_download() as download:
        page.click(f"figure:has(#{chart}) .csv")
    assert download.value.suggested_filename == f"{chart}.csv"
    return list(csv.DictReader(download.value.path().open(encoding="utf-8")))


def caption(page, chart):
    return page.inner_text(f"figure:has(#{chart}) .caption")


def announced(page):
    return page.inner_text("#announcer")


def hover_cell(page, chart, row, column, count):
    """Move the pointer over a cell of a matrix, in the middle of the window; returns the place."""

    def place():
        box = page.locator(f"#{chart} svg image").first.bounding_box()
        return [box[start] + (at + 0.5) * box["width"] / count for start, at in (("x", column), ("y", row))]

    page.evaluate("(y) => scrollBy(0, y - innerHeight / 2)", place()[1])
    page.mouse.move(*place())
    return place()


def test_every_chart_is_drawn(opened, run, untrained):
    page = opened(report([run, untrained], scores=SCORES))
    charts = page.locator(".chart").all()
    assert len(charts) == 2 * 5 + 1 + 4 + 4 + 2 + 1
    for chart in charts:
        chart.scroll_into_view_if_needed()
        pixels = matplotlib.image.imread(io.BytesIO(chart.screenshot()))[..., :3]
        assert pixels.std() > 0.02  # not blank


def test_an_image_is_shown_with_its_patches_and_their_coupling(opened, tmp_path_factory):
    folder = save_vit(tmp_path_factory.mktemp("models") / "vit")
    page = opened(report(coupling.analyze(folder, images=digits(2), k=3, kind="self")))
    picture = page.locator("#image-0-picture svg image")
    first = picture.get_attribute("href")
    assert first.startswith("data:image/")
    assert "Image 0, 4 x 4 patches; 16 patches were measured" in caption(page, "image-0-picture")
    before = rows_of(page, "image-0-heat")
    assert len(before) == 16
    page.select_option("#control-prompt", "1")
    assert picture.get_attribute("href") != first
    assert rows_of(page, "image-0-heat") != before


@pytest.mark.parametrize(
    ("control", "choice", "charts"),
    [
        ("show", "coupling", ["heatmap-0", "strongest-0"]),
        ("k", "0", ["heatmap-0", "circle-0", "grid-0", "angles-0-left", "spectrum-0-values"]),
        ("p", "1", ["heatmap-0", "strongest-0"]),
        ("variant", "swapped", ["heatmap-0", "circle-0"]),
        ("prompt", "2", ["heatmap-0", "grid-0", "angles-0-right", "spectrum-0-reciprocals", "linearity-0-shape"]),
        ("skip", "2", ["trajectory-0", "linearity-0-distance"]),
    ],
)
def test_a_control_changes_the_charts_and_the_address(opened, run, control, choice, charts):
    page = opened(report(run))
    before = {chart: page.inner_html(f"#{chart} svg") for chart in charts}
    page.select_option(f"#control-{control}", choice)
    for chart in charts:
        assert page.inner_html(f"#{chart} svg") != before[chart], chart
    assert f"{control}={choice}" in page.url
    assert announced(page).startswith("The charts have changed. Excess over chance: ")
    again = opened(report(run), fragment=f"#{page.url.split('#')[1]}")
    assert again.input_value(f"#control-{control}") == choice
    page.click("#reset")
    assert "#" not in page.url
    assert page.inner_html(f"#{charts[0]} svg .axis") is not None


def test_a_strange_address_is_left_alone(opened, run):
    page = opened(report(run), fragment="#k=99&p=<b>&pair=1-x&what=3")
    assert page.input_value("#control-k") == "1"
    page.evaluate("location.hash = '#pair=2-5&p=1'")
    page.wait_for_function("state.p === '1'")
    assert "Blocks 2 and 5" in caption(page, "grid-0")


def test_the_shown_numbers_are_the_run_s(opened, run):
    page = opened(report(run))
    page.select_option("#control-prompt", "1")
    rows = {(row["a"], row["b"]): row for row in rows_of(page, "heatmap-0")}
    assert len(rows) == 8 * 7
    m, chance = (float(run[name].sel(k=5, norm=2, prompt=1, block=4, other_block=6)) for name in ("mismatch", "chance"))
    assert float(rows["4", "6"]["coupling"]) == pytest.approx(1 - m, abs=1e-4)
    assert float(rows["4", "6"]["excess"]) == pytest.approx((chance - m) / chance, abs=1e-4)
    spectrum = rows_of(page, "spectrum-0-values")
    assert float(spectrum[0]["singular value"]) == pytest.approx(float(run.singular_values[1, 0, 0]), rel=1e-3)
    page.select_option("#control-skip", "2")
    paths = rows_of(page, "trajectory-0")
    points, _ = principal_components(paths_of(run, 1, skip_first=2).stream)
    assert paths[0]["token"] == "2"
    assert float(paths[0]["component 1"]) == pytest.approx(points[0, 0, 0], abs=1e-3)


def test_hovering_a_pair_marks_it_in_every_chart(opened, run):
    page = opened(report(run))
    hover_cell(page, "heatmap-0", 2, 3, 8)
    value = 1 - float(run.mismatch.sel(k=5, norm=2, block=2, other_block=3).mean())
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert "block 2 in the frames of block 3: excess" in tip.inner_text()
    assert f"{value:.3g}" in tip.inner_text()
    for chart in ("heatmap-0", "strongest-0", "circle-0", "angles-0-left", "angles-0-right", "spectrum-0-values"):
        assert page.locator(f"#{chart} svg .emphasis, #{chart} svg g path").count() > 0, chart
    assert page.locator("#spectrum-0-values svg .emphasis").count() == 2
    page.mouse.move(2, 2)
    assert page.locator("svg .emphasis").count() == 0
    assert not tip.is_visible()


def test_a_click_chooses_the_pair_whose_projection_is_shown(opened, run):
    page = opened(report(run))
    page.mouse.click(*hover_cell(page, "heatmap-0", 1, 6, 8))
    assert page.url.endswith("#pair=1-6")
    assert "Blocks 1 and 6" in caption(page, "grid-0")
    tile = {(row["row"], row["column"]): float(row["absolute value"]) for row in rows_of(page, "grid-0")[:25]}
    projection = run.projection.isel(detailed_prompt=0).sel(block=1, other_block=6).values
    assert tile["2", "4"] == pytest.approx(abs(float(projection[1, 3])), abs=0.003 * float(abs(projection).max()))


def test_the_keyboard_reaches_every_value(opened, run):
    page = opened(report(run))
    page.focus("#control-k")
    page.keyboard.press("ArrowDown")
    assert page.input_value("#control-k") == "0"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "control-p"
    page.focus("#heatmap-0")
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert announced(page).startswith("block 1 in the frames of block 2: excess ")
    page.keyboard.press("Enter")
    assert page.url.endswith("pair=1-2")
    assert announced(page).startswith("Chosen: 1 and 2. Blocks 1 and 2")
    page.keyboard.press("End")
    assert announced(page).startswith("block 1 in the frames of block 7")
    for chart in page.locator(".chart").all():
        chart.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#tip").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#tip").is_visible()


def test_untrusted_text_is_shown_and_not_run(opened, run):
    page = opened(report(hostile_run(run)))
    name = printable(HOSTILE.split("/")[-1], 40)  # a model's name is the last part of its path
    assert page.title() == f"{name}: block coupling"
    assert page.locator("img").count() == 0
    page.locator(".provenance summary").click()
    assert page.locator("dd", has_text=HOSTILE).count() == 2  # the model, and where its prompts come from
    page.select_option("#control-prompt", "1")
    assert page.inner_text("#control-prompt option:nth-child(3)") == "1: <script>\\u2028"
    page.evaluate("document.querySelector('#charts').append(document.createElement('script'))")
    page.evaluate("showTip('<b>x</b>', 3, 3)")
    assert page.locator("#tip b").count() == 0


def test_the_difference_of_two_runs(opened, run, untrained):
    page = opened(report([run, untrained]))
    rows = rows_of(page, "difference-1")
    one, other = (
        {(row["a"], row["b"]): float(row["excess"]) for row in rows_of(page, f"heatmap-{at}")} for at in (0, 1)
    )
    column = "excess minus that of bundled"
    assert float(rows[3][column]) == pytest.approx(
        other[rows[3]["a"], rows[3]["b"]] - one[rows[3]["a"], rows[3]["b"]], abs=1e-5
    )
    assert page.locator(".compared tbody tr").count() == 2


def test_runs_that_compare_tokens(opened, run, token_run):
    page = opened(report([run, token_run]))
    before = page.inner_html("#heatmap-1 svg")
    page.select_option("#control-block", "6")
    assert page.inner_html("#heatmap-1 svg") != before
    tokens = int(token_run.n_tokens[0])
    assert len(rows_of(page, "heatmap-1")) == tokens * (tokens - 1)
    page.select_option("#control-skip", "1")
    rows = rows_of(page, "heatmap-1")
    assert len(rows) == (tokens - 1) * (tokens - 2)
    assert rows[0]["a"].startswith("1 ")
    assert "the first token is left out" in caption(page, "heatmap-1")
