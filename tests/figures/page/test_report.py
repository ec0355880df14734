"""The report as text: what it holds, what it escapes, how large it is."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import coupling
from coupling.errors import CouplingError
from coupling.figures import report, scatter
from coupling.figures.circle import excess_over_chance
from coupling.figures.page.vega import SCALE


def specifications(page: str) -> list[dict]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    return [json.loads(text) for text in found]


@pytest.fixture(scope="module")
def page(run):
    return report(run)


def test_the_same_runs_give_the_same_page(page, run):
    assert report(run) == page


def test_the_page_holds_the_run_s_numbers(page, run):
    heatmap, circle, *_ = specifications(page)
    (row,) = [row for row in heatmap["datasets"]["rows"]
              if (row["k"], row["p"], row["v"], row["t"]) == (3, 1, "swapped, signed", 2)]  # fmt: skip
    expected = 1 - run.mismatch_swapped_signed.sel(k=3, norm=1, prompt=2).values
    shown = np.array([np.nan if value is None else value / SCALE for value in row["c"]]).reshape(8, 8)
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(shown[off], expected[off], atol=0.5001 / SCALE)
    assert np.isnan(shown.diagonal()).all()
    (mean,) = [row for row in circle["datasets"]["rows"]
               if (row["k"], row["p"], row["v"], row["t"]) == (5, 2, "absolute", -1)]  # fmt: skip
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
    assert '<option value="5">' not in page[: page.index('id="control-p"')]  # the third run holds K = 3 alone
    assert "K = 5 is left out" in page
    with pytest.raises(CouplingError, match="share no K"):
        report([run.sel(k=[5]), token_run])
    first, second, *_ = specifications(page)
    for one, other in zip(first["datasets"]["rows"], second["datasets"]["rows"], strict=True):
        assert one["range"] == other["range"]


def test_scatter_is_there_where_scores_were_given(page, run):
    table = pd.DataFrame({"model": ["a", "b</script>", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1.0, 2.0, 4.0]})
    with_scores = report(run, scores=table, benchmark_label="accuracy")
    assert 'id="scatter-0"' in with_scores
    assert 'id="scatter-0"' not in page
    assert "b</script>" not in with_scores
    assert specifications(with_scores)[-1]["datasets"]["rows"][1]["model"] == "b</script>"


HOSTILE = "</title></script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


def hostile_run(run):
    bad = run.copy()
    bad.attrs |= {"model": HOSTILE, "prompts": HOSTILE}
    bad["prompt_text"] = bad.prompt_text.copy(data=[HOSTILE, "<script>", "</title>"])
    bad["token_text"] = bad.token_text.copy(data=np.full(bad.token_text.shape, "</script>"))
    return bad


def test_untrusted_text_stays_text(run, page):
    bad = report(hostile_run(run))
    for tag in ("<script", "</script", "</title", "<img"):
        assert bad.count(tag) == page.count(tag), tag


def test_a_32_block_run_fits_into_5_mb_and_says_what_was_left_out(deep_run):
    page = report([deep_run, deep_run])
    assert len(page.encode()) <= 5_000_000
    assert re.search(r"it holds prompts 0(, 1| to \d+) of 28", page)
    assert "are over all of them" in page
    with pytest.raises(CouplingError, match="give fewer runs"):
        report(deep_run, most_bytes=1_000_000)


def test_tokens_are_left_out_where_pairs_of_them_are_too_many(token_run):
    size = len(report(token_run).encode())
    page = report(token_run, most_bytes=size - 30_000)
    assert re.search(r"the first \d+ measured ones", page)
    assert len(page.encode()) <= size - 30_000


def test_the_scatter_s_fit_is_that_of_the_picture(run):
    table = pd.DataFrame({"model": list("abcdef"), "score": [1, 2, 3, 1, 2, 9], "benchmark": [1, 2, 3.5, 9, 9, 0],
                          "group": ["published"] * 3 + ["measured"] * 3})  # fmt: skip
    (note,) = specifications(report(run, scores=table))[-1]["datasets"]["notes"]
    words = [text.get_text() for text in scatter(table).legends[0].get_texts()]
    assert note["note"] in words
    many = pd.concat([table.drop(columns="group")] * 6, ignore_index=True)
    (note,) = specifications(report(run, scores=many))[-1]["datasets"]["notes"]
    assert note["note"].endswith("names on hover")
