"""How one run looks on a terminal."""

import io
import re

import pytest
from rich.console import Console

import coupling
from coupling.cli.render.numbers import figures, percent_with_error
from coupling.cli.render.run import print_run


def printed(summary, *, width=100, **options):
    text = io.StringIO()
    print_run(summary, Console(file=text, width=width), **options)
    return text.getvalue()


@pytest.fixture
def summary(measured):
    return coupling.summarize(measured)


def test_the_table_contains_the_numbers(summary):
    text = printed(summary)
    row = next(row for row in summary["scores"] if row["k"] == 3 and row["norm"] == 2)
    assert figures(row["score"]) in text
    assert figures(row["chance"]) in text
    assert f"excess over chance {percent_with_error(row['excess'], row['excess_se'])} (K = 3, p = 2" in text
    assert "swapped" not in text
    assert printed(summary, all_variants=True).count("swapped") == 2 * 2 * len({r["k"] for r in summary["scores"]})


def test_calibrated_measures_are_printed_at_the_largest_k_or_at_all(summary):
    row = next(row for row in summary["calibrated"] if row["k"] == 3 and row["measure"] == "diagonal_share")
    assert re.search(rf"^ +diagonal share +3 +{figures(row['value'])} ", printed(summary), re.MULTILINE)
    assert printed(summary).count("diagonal share") == 1
    assert printed(summary, all_variants=True).count("diagonal share") == 2
    assert "diagonal share" not in printed(summary | {"calibrated": []})  # a run of an earlier version


def test_a_preset_says_what_it_stands_for(summary):
    assert "preset" not in printed(summary)
    one_k = summary | {"scores": [row for row in summary["scores"] if row["k"] == 3]}
    one_k["provenance"] = summary["provenance"] | {"preset": "paper"}
    score = next(row["score"] for row in one_k["scores"] if row["norm"] == 1)
    text = printed(one_k)
    assert "preset paper, in all likelihood what the paper's Figure 1(a) shows: K = 10% of the width" in text
    assert f"score {score:.4f}" in text


def test_pairs_are_named_by_their_blocks(summary):
    strongest = summary["strongest"][0]
    assert f"{strongest['block']}→{strongest['other_block']} {figures(strongest['coupling'])}" in printed(summary)


def test_names_are_text_and_not_markup(summary):
    summary["provenance"]["model"] = "[red]model[/red]"
    assert "[red]model[/red]" in printed(summary)


def test_a_tolerance_that_was_not_met_is_said(summary):
    assert "tolerance" not in printed(summary)
    assert "tolerance" in printed(summary | {"singular_values_converged": False})


def test_categories_and_the_number_of_prompts_are_two_lines(summary):
    rows = [
        {"category": "code", "prompts": 3, "excess": 0.05, "standard_error": 0.01, "low": 0.02, "high": 0.08},
        {"category": "[b]facts", "prompts": 1, "excess": 0.04, "standard_error": None, "low": None, "high": None},
    ]
    needed = [{"standard_error": 0.005, "prompts": 31}]
    text = printed(summary | {"categories": rows, "prompt_count": {"curve": [], "needed": needed}})
    assert "excess by category (95%): code 5.0% ± 3.0%,  [b]facts 4.00%" in text
    assert "standard error of the excess (bootstrap): 0.5% takes 31 prompts" in text
    without = printed(summary | {"categories": rows[:1], "prompt_count": {"curve": [], "needed": []}})
    assert "by category" not in without
    assert "bootstrap" not in without


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_width_loses_a_number(summary, width):
    text = printed(summary, width=width, all_variants=True)
    assert "…" not in text
    for row in (*summary["scores"], *summary["calibrated"]):
        assert figures(row["score"] if "score" in row else row["value"]) in text
    if width == 40:
        assert "K 3" in text


def test_the_header_says_what_the_run_is(summary):
    first, second, *_ = printed(summary).splitlines()
    for fact in summary["facts"]:
        assert fact in first
    assert second == "float32 on cpu, token-local, dense SVD"
