"""The numbers of the page are those that ``coupling correlate --family`` prints."""

from dataclasses import replace

import pytest

from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.small_models import family_table
from tests.docs.pages import tables_of, text_of

PAGE = "results/small-models.md"
BENCHMARKS = ["exact match", "bits per byte"]


@pytest.fixture(scope="module")
def result():
    return correlate(family_table(), benchmarks=BENCHMARKS, resamples=19)


def test_all_models(result):
    pearson = {(row["benchmark"], row["measure"]): row["pearson"] for row in result["measures"]}
    for one in result["results"]:
        pearson |= {(one["benchmark"], row["name"]): row["pearson"] for row in one["predictors"]}
    header, *rows = tables_of(PAGE)[0]
    assert header[1:] == BENCHMARKS
    assert len(rows) == 11
    for name, *cells in rows:
        assert cells == [f"{pearson[benchmark, name]:+.2f}" for benchmark in BENCHMARKS]


def test_models_of_equal_steps(result):
    exact, bits = ({f"{row['value']:g}": row for row in one["within"]} for one in result["results"])
    _, *rows = tables_of(PAGE)[1]
    assert [row[0] for row in rows] == list(exact)
    for steps, *cells in rows:
        both = exact[steps], bits[steps]
        assert cells == [f"{row['pearson']:+.2f} ({row['pearson_p']:.2f})" for row in both]


def test_the_text(result):
    text = text_of(PAGE)
    seconds = family_table().frame["seconds"].sum()
    assert f"trains {len(family_table().frame)} small Llamas" in text
    assert f"It took {seconds / 2 / 60:.0f} minutes on 2 shared cores" in text
    for one in result["results"]:
        term = one["joint"][1]["terms"][0]
        assert f"{term['partial']:+.2f} with {one['benchmark']} (p = {term['p']:.2f})" in text


def test_beyond_size_at_2000_steps():
    table = family_table()
    longest = replace(table, frame=table.frame[table.frame["steps"] == 2000], controls=(), within=None)
    exact, bits = correlate(longest, benchmarks=BENCHMARKS, resamples=19)["results"]
    size = [
        next(row["pearson"] for row in one["predictors"] if row["name"] == "log parameters") for one in (exact, bits)
    ]
    beyond = [one["joint"][0]["terms"][0] for one in (exact, bits)]
    text = text_of(PAGE)
    assert f"(r = {size[0]:+.2f} and {size[1]:+.2f})" in text
    stated = " and ".join(f"{term['partial']:+.2f} (p = {term['p']:.2f})" for term in beyond)
    assert f"a partial r of {stated}" in text


def test_models_that_close_no_bracket():
    frame = family_table().frame
    shortest = frame[frame["steps"] == 300]
    assert (len(shortest), int((shortest["bracket"] == 0).sum())) == (8, 5)
    assert "five of the eight with 300 steps close no bracket at all" in text_of(PAGE)
