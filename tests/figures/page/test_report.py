"""The report as text: what it contains, and how large it is."""

import re

import numpy as np
import pandas as pd
import pytest

import coupling
from coupling.errors import CouplingError
from coupling.figures import report
from coupling.figures.page.packing import unpacked
from coupling.figures.page.render import render
from tests.figures.page.helpers import material, page_data


@pytest.fixture(scope="module")
def page(run):
    return report(run)


def test_the_same_runs_give_the_same_page(page, run):
    assert report(run) == page


def test_the_page_contains_the_run_s_numbers(page, run):
    table = page_data(page)["pairs"][0]["tables"]["0,1,swapped signed,2"]
    expected = 1 - run.mismatch_swapped_signed.sel(k=3, norm=1, prompt=2).values
    off = ~np.eye(8, dtype=bool)
    assert np.allclose(unpacked(table["c"]).reshape(8, 8)[off], expected[off], atol=1e-4)
    assert f"<td>{coupling.score(run, k=3, norm=1):.3f}</td>" in page
    assert run.attrs["weights_hash"] in page


def test_runs_stand_side_by_side(run, untrained, token_run):
    page = report([run, untrained, token_run])
    assert page.count('class="chart"') == 3 + 3 + 3 + 2 + 3 + 1 + 4 + 6 + 2  # the tokens have neither circle nor angles
    assert "the circle is drawn from a run of kind depth" in page
    assert "bundled (random weights)" in page
    assert "measured on different prompts" in page
    assert 'id="control-block"' in page
    assert page_data(page)["ks"] == ["3"]  # the third run has K = 3 alone
    assert "K = 5 is left out" in page
    with pytest.raises(CouplingError, match="share no K"):
        report([run.sel(k=[5]), token_run])


def test_first_tokens_can_be_left_out(run):
    assert '<option value="2" selected>2</option>' in report(run, skip_first=2)
    with pytest.raises(CouplingError, match="does not leave a token"):
        report(run, skip_first=1000)


def test_pairs_of_blocks_can_be_chosen(pairs_run):
    assert '<option value="2:6">2:6</option>' in report(pairs_run)


def test_the_scatter_is_drawn_if_scores_are_given(page, run):
    table = pd.DataFrame({"model": ["a", "b</script>", "c"], "score": [0.1, 0.2, 0.3], "benchmark": [1.0, 2.0, 4.0]})
    with_scores = report(run, scores=table, benchmark_label="accuracy")
    assert 'id="scatter-0"' in with_scores
    assert 'id="scatter-0"' not in page
    assert "b</script>" not in with_scores
    assert page_data(with_scores)["sections"]["scatter"][0]["rows"][1]["model"] == "b</script>"


def fewest_bytes(run, prompts):
    """The size of a page at the lowest precision that has all prompts and tokens."""
    return len(render(material(run, prompts=prompts, bits=8, variants=1, skips=range(4))).encode())


@pytest.mark.slow
def test_precision_is_lowered_before_prompts_are_left_out(deep_run):
    page = report([deep_run, deep_run])
    assert len(page.encode()) <= 5_000_000
    assert "rounded to 1/254" in page
    assert "it contains prompts" not in page
    small = report(deep_run, most_bytes=fewest_bytes(deep_run, prompts=28) - 500)
    assert re.search(r"it contains prompts 0(, 1| to \d+) of 28", small)
    assert "absolute variant alone" in small
    assert "are over all of them" in small
    with pytest.raises(CouplingError, match="give fewer runs"):
        report(deep_run, most_bytes=200_000)


def test_tokens_are_left_out_if_there_are_too_many_pairs_of_them(token_run):
    most = fewest_bytes(token_run, prompts=1) - 500
    page = report(token_run, most_bytes=most)
    assert re.search(r"the first \d+ measured ones", page)
    assert len(page.encode()) <= most


def test_a_missing_package_is_one_line_that_names_the_extra(run, monkeypatch):
    monkeypatch.setattr("coupling.errors.find_spec", lambda name: None if name == "jinja2" else object())
    with pytest.raises(CouplingError, match=r"^the report needs the .* pip install 'block-coupling\[report\]'$"):
        report(run)
