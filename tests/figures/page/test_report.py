"""The report as text: what it contains, and how large it is."""

import re

import numpy as np
import pandas as pd
import pytest

import coupling
from coupling.errors import CouplingError
from coupling.figures import report
from coupling.figures.circle import excess_over_chance
from coupling.figures.page.vega import SCALE
from tests.figures.page.helpers import specifications


@pytest.fixture(scope="module")
def page(run):
    return report(run)


def test_the_same_runs_give_the_same_page(page, run):
    assert report(run) == page


def test_the_page_contains_the_run_s_numbers(page, run):
    heatmap, circle, *_ = specifications(page)
    choice = {"k": 3, "p": 1, "v": "swapped signed", "t": 2}
    (row,) = [row for row in heatmap["datasets"]["rows"] if row.items() >= choice.items()]
    expected = 1 - run.mismatch_swapped_signed.sel(k=3, norm=1, prompt=2).values
    shown = np.array([np.nan if value is None else value / SCALE for value in row["c"]]).reshape(8, 8)
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(shown[off], expected[off], atol=0.5001 / SCALE)
    assert np.isnan(shown.diagonal()).all()
    choice = {"k": 5, "p": 2, "v": "absolute", "t": -1}
    (mean,) = [row for row in circle["datasets"]["rows"] if row.items() >= choice.items()]
    share = excess_over_chance(run, k=5)[np.tril_indices(8, -1)]
    assert np.allclose(np.array(mean["e"]) / SCALE, share, atol=0.5001 / SCALE)
    assert re.findall(r"<td>(\d\.\d{3})</td>", page)[0] == f"{coupling.score(run, k=3, norm=1):.3f}"
    assert "weights_hash" in page
    assert run.attrs["weights_hash"] in page


def test_runs_stand_side_by_side_on_one_scale(run, untrained, token_run):
    page = report([run, untrained, token_run])
    assert page.count('class="chart"') == 3 + 2 + 3 + 3 + 1  # the run that compares tokens has no circle
    assert "the circle is drawn from a run of kind depth" in page
    assert "bundled (random weights)" in page
    assert "measured on different prompts" in page
    assert 'id="control-block"' in page
    assert '<option value="5">' not in page[: page.index('id="control-p"')]  # the third run has K = 3 alone
    assert "K = 5 is left out" in page
    with pytest.raises(CouplingError, match="share no K"):
        report([run.sel(k=[5]), token_run])
    first, second, *_ = specifications(page)
    for one, other in zip(first["datasets"]["rows"], second["datasets"]["rows"], strict=True):
        assert one["range"] == other["range"]


def test_pairs_of_blocks_can_be_chosen(pairs_run):
    assert '<option value="2:6">2:6</option>' in report(pairs_run)


def test_the_scatter_is_drawn_if_scores_are_given(page, run):
    table = pd.DataFrame({"model": ["a", "b</script>", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1.0, 2.0, 4.0]})
    with_scores = report(run, scores=table, benchmark_label="accuracy")
    assert 'id="scatter-0"' in with_scores
    assert 'id="scatter-0"' not in page
    assert "b</script>" not in with_scores
    assert specifications(with_scores)[-1]["datasets"]["rows"][1]["model"] == "b</script>"


def test_a_32_block_run_fits_into_5_mb_and_says_what_was_left_out(deep_run):
    page = report([deep_run, deep_run])
    assert len(page.encode()) <= 5_000_000
    assert re.search(r"it contains prompts 0(, 1| to \d+) of 28", page)
    assert "are over all of them" in page
    with pytest.raises(CouplingError, match="give fewer runs"):
        report(deep_run, most_bytes=1_000_000)


def test_tokens_are_left_out_if_there_are_too_many_pairs_of_them(token_run):
    size = len(report(token_run).encode())
    page = report(token_run, most_bytes=size - 30_000)
    assert re.search(r"the first \d+ measured ones", page)
    assert len(page.encode()) <= size - 30_000


@pytest.mark.parametrize("module", ["altair", "jinja2", "vl_convert"])
def test_a_missing_package_is_one_line_that_names_the_extra(run, module, monkeypatch):
    monkeypatch.setattr("coupling.errors.find_spec", lambda name: None if name == module else object())
    with pytest.raises(CouplingError, match=r"^the report needs the .* pip install 'block-coupling\[report\]'$"):
        report(run)
