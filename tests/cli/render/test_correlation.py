"""A correlation as it is printed: its numbers are those of the result, and what was left out is listed."""

import io
import re

import pytest
from rich.console import Console

from coupling.analyses.correlation.correlate import correlate, correlate_runs
from coupling.analyses.correlation.published import correlate_published, published_table
from coupling.analyses.correlation.small_models import family_table
from coupling.cli.render.correlation import print_correlation


def printed(result) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_correlation(result, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def published():
    return correlate(published_table(), resamples=99)


def test_the_published_points(published):
    text = printed(published)
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    coupling = [row for row in rows if row[0] == "coupling"]
    predictor = published["results"][0]["predictors"][0]
    low, high = predictor["slope_interval"]
    assert coupling[0][1] == "0.799"
    assert coupling[0][-1] == f"{low:.3g} to {high:.3g}"
    assert coupling[1][1:3] == [f"{predictor['pearson']:+.3f}", "2e-10"]
    assert coupling[2][-1] == "12.9"  # the variance inflation factor beside log parameters
    assert "coupling explains 79.9% of the variance, log parameters 77.4%; given log parameters: partial r " in text
    assert "R² of coupling with one family left out: 0.663 (without GPT-2) to 0.826 (without Pythia)" in text
    assert "which measure predicts?" not in text  # there is only one


def test_the_small_models():
    table = family_table()
    text = printed(correlate(table, benchmarks=["exact match", "bits per byte"], resamples=9))
    assert "Pearson's r of excess K=10 p=2 at equal steps: 100 (18 models) -0.530" in text
    assert f"p corrected for {len(table.measures)} measures (36 signed and swapped ones are shown by --json" in text
    assert "p of r, corrected for 2 benchmarks" in text
    assert "excess K=10 p=1\n" in text or "excess K=10 p=1 " in text  # a list or a table, by its width
    assert "excess K=10 p=1 signed" not in text


def test_what_is_left_out(six, make_run):
    folders, scores = six
    result = correlate_runs([*folders[:3], make_run("x/stranger", 0.8)], scores, resamples=9)
    text = printed(result)
    assert "only 3 models: with fewer than 5" in text
    assert "skipped same: same is the same for all 3 models" in text
    assert "the same for all 3 models, so nothing correlates with it: depth, log depth, width, log width" in text
    narrow = Console(file=io.StringIO(), width=60)
    print_correlation(result, narrow)
    assert "…" not in narrow.file.getvalue()
    assert text.startswith("3 of 4 runs with scores:")
    assert ": Model_0 of the scores, the same name apart from organization, case and punctuation" in text
    assert re.search(r"x/stranger .*: no scores for this model", text)
    assert "left out, no run of this model: " in text
    assert "left out, no scores" not in text
    result["left_out"] = [{"name": f"model-{index}", "reason": "no run of this model"} for index in range(12)]
    assert "left out, no run of this model: model-0, model-1, " in printed(result)
    assert "model-9 and 2 more (--json lists all)" in printed(result)


def test_runs_among_the_published_points(make_run):
    result = correlate_published([make_run("gpt2", 0.8)], resamples=9)
    text = printed(result)
    assert "your runs among the published points" in text
    assert f"{result['measured'][0]['score']:.4f}" in text
    assert "can, in all likelihood, be compared with the published points" in text
    result["measured"][0] |= {"comparable": False, "differs": ["K = 3; the score grows with K (`k='10%'`)"]}
    text = printed(result)
    assert "cannot be compared with the published points:" in text
    assert "  K = 3; the score grows with K (--k 10%)" in text


def test_names_in_brackets_are_not_markup(published):
    result = published | {"notes": ["[bold]note[/]"]}
    assert "[bold]note[/]" in printed(result)
