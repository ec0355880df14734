"""The page of runs of reinforcement learning."""

import pandas as pd
import pytest

from coupling.errors import CouplingError
from coupling.figures.page.training import MOST_STEPS, training_report
from tests.figures.page.browser import SCHEMES, WIDTHS, serious
from tests.figures.page.helpers import HOSTILE, page_data


@pytest.fixture(scope="module")
def table():
    rows = [
        {
            "run": run, "seed": seed, "step": step, "ess": 1.0, "kl": 0.01 * step,
            "reward": 0.1 * step + 0.01 * seed if step else None,
            "score": 0.1 + 0.01 * step, "chance": 0.02, "excess": 0.08 + 0.01 * step + 0.002 * seed,
        }
        for run in ("one", "two") for seed in (0, 1) for step in range(5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def page(table):
    described = {"one": "p3o on brackets", "two": HOSTILE}
    return training_report(table, described, of_k="K = 5", command="coupling report one two", date="2026-01-02")


def test_the_page_says_what_happened(page, table):
    assert "<h1>one and two</h1>" in page
    assert "one: p3o on brackets. The mean reward was 0.105 over the first tenth of the steps and 0.405" in page
    assert "the excess of coupling over chance at K = 5, p = 2 was 8.1 % at step 0 and 12.1 % at step 4" in page
    assert HOSTILE not in page
    assert "bands reach from the lowest to the highest seed" in page
    alone = training_report(table[table["run"] == "one"].assign(seed=0), {})
    assert "nothing says how much another seed would differ" in alone
    assert 'id="control-seed"' not in alone


def test_the_charts_contain_the_numbers(page):
    (training,) = page_data(page)["sections"]["training"]
    excess = training["runs"][0]["lines"]["excess"]
    assert excess["-1"]["steps"] == [0, 1, 2, 3, 4]
    assert excess["-1"]["values"] == pytest.approx([0.081, 0.091, 0.101, 0.111, 0.121])
    assert excess["-1"]["high"][0] == pytest.approx(0.082)
    assert excess["1"]["values"][0] == pytest.approx(0.082)
    assert training["runs"][0]["lines"]["reward"]["-1"]["steps"] == [1, 2, 3, 4]


def test_long_runs_are_thinned_out():
    steps = range(3 * MOST_STEPS + 2)
    table = pd.DataFrame({"run": "a", "seed": 0, "step": steps, "reward": [0.5] * len(steps)})
    (training,) = page_data(training_report(table, {}))["sections"]["training"]
    line = training["runs"][0]["lines"]["reward"]["-1"]
    assert len(line["steps"]) <= MOST_STEPS + 1
    assert line["steps"][-1] == steps[-1]
    assert "Coupling was not measured" in training_report(table, {})


def test_a_table_without_numbers(table):
    with pytest.raises(CouplingError, match="contain no numbers in reward, excess"):
        training_report(table[["run", "step"]].assign(reward=None), {})


@pytest.mark.browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_in_a_browser(opened, page, width, scheme):
    shown = opened(page, width=width, color_scheme=scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.locator(".chart svg path").count() >= 5
    shown.select_option("#control-seed", "1")
    assert "Seed 1" in shown.inner_text("#training-reward + figcaption")
    assert "#seed=1" in shown.url
    shown.focus("#training-excess")
    shown.keyboard.press("ArrowRight")
    assert shown.inner_text("#announcer") == "one, step 0: 8.2 %"
    shown.locator("footer summary").first.click()
    assert serious(shown) == []
