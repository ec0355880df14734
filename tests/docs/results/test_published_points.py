"""The numbers of the page are those that ``coupling correlate --published`` prints."""

from dataclasses import replace

import pytest

from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.published import correlate_published, published_table
from tests.docs.pages import tables_of, text_of

PAGE = "results/published-points.md"


@pytest.fixture(scope="module")
def everything():
    return correlate_published()


@pytest.fixture(scope="module")
def result(everything):
    (only,) = everything["results"]
    return only


def test_the_table(result):
    ((header, cells),) = tables_of(PAGE)
    r2 = {row["name"]: f"{row['r2']:.3f}" for row in result["predictors"]}
    assert dict(zip(header[1:], cells[1:], strict=True)) == {name: r2[name] for name in header[1:]}


def test_the_text(result):
    r2 = {row["name"]: row["r2"] for row in result["predictors"]}
    joint = result["joint"][0]
    coupling, size = joint["terms"]
    text = text_of(PAGE)
    for stated in (
        f"{result['n']} models",
        f"R² is {r2['coupling']:.2f} for coupling, against {r2['parameters']:.2f} for parameters",
        f"margin is {round(r2['coupling'], 3) - round(r2['log parameters'], 3):.3f}",
        f"(variance inflation {coupling['vif']:.1f})",
        f"reach {joint['r2']:.3f}",
        f"p = {coupling['p']:.3f} beyond size",
        f"p = {size['p']:.3f} beyond coupling",
        f"falls to {result['leave_one_family_out']['lowest']:.3f}",
    ):
        assert stated in text, stated


def test_without_one_family():
    table = published_table()
    without = replace(table, frame=table.frame[table.frame["family"] != "GPT-2"])
    (result,) = correlate(without, resamples=19)["results"]
    r2 = {row["name"]: row["r2"] for row in result["predictors"]}
    coupling, size = result["joint"][0]["terms"]
    text = text_of(PAGE)
    assert f"one family of {table.frame['family'].nunique()}".replace("11", "eleven") in text
    assert f"falls to {r2['coupling']:.3f} and log parameters do as well ({r2['log parameters']:.3f})" in text
    assert f"(p = {coupling['p']:.3f} and {size['p']:.3f})" in text


def test_the_chance_curve(everything):
    chance, text = everything["chance"], text_of(PAGE)
    law, on_curve = chance["power_law"]["all"], chance["power_law"]["without_off_curve"]
    low, high = chance["left"]["pearson_interval"]
    for stated in (
        f"{100 * chance['score']['r2']:.1f}%** of the variance of the published coupling",
        f"has the median {chance['scaled_median']:.2f} over the 28 points; chance gives √10 = {10**0.5:.2f}",
        f"{on_curve['exponent']:.2f} ± {on_curve['standard_error']:.3f} (R² {on_curve['r2']:.2f}) over {on_curve['n']}",
        f"it is {law['exponent']:.2f} ± {law['standard_error']:.3f} (R² {law['r2']:.2f})",
        f"explains {100 * chance['benchmark']['r2']:.1f}% of the variance of the leaderboard's average",
        f"correlates with the average at r = {chance['left']['pearson']:.2f} ({low:.2f} to {high:.2f})",
    ):
        assert stated in text, stated
    for row in chance["off_curve"]:
        assert row["model"] in text
    assert len(chance["off_curve"]) == 5


def test_the_partial_correlations(everything):
    partial, text = everything["chance"]["partial"], text_of(PAGE)
    (coupling, chance), (on_curve, _) = partial["all"], partial["without_off_curve"]
    low, high = coupling["partial_interval"]
    assert f"{coupling['partial']:+.3f} ({low:.2f} to {high:.2f}), and that of chance {chance['partial']:.3f}" in text
    low, high = on_curve["partial_interval"]
    assert f"it is {on_curve['partial']:+.3f} ({low:.2f} to {high:.2f})" in text
