"""The numbers of the page are those that ``coupling correlate --published`` prints."""

from dataclasses import replace

import pytest

from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.published import correlate_published, published_table
from tests.docs.pages import tables_of, text_of

PAGE = "results/published-points.md"


@pytest.fixture(scope="module")
def result():
    (only,) = correlate_published(resamples=19)["results"]
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
