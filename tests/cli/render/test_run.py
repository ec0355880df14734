"""How one run looks on a terminal."""

import io

import pytest
from rich.console import Console

import coupling
from coupling.cli.render.run import print_run


def printed(summary, **options):
    text = io.StringIO()
    print_run(summary, Console(file=text, width=100), **options)
    return text.getvalue()


@pytest.fixture
def summary(measured):
    return coupling.summarize(measured)


def test_the_table_contains_the_numbers(summary):
    text = printed(summary)
    row = next(row for row in summary["scores"] if row["k"] == 3 and row["norm"] == 2)
    assert f"{row['score']:.3f}" in text
    assert f"{row['chance']:.3f}" in text
    assert "signed" not in text
    assert printed(summary, all_variants=True).count("swapped") == 2 * 2 * len({r["k"] for r in summary["scores"]})


def test_pairs_are_named_by_their_blocks(summary):
    strongest = summary["strongest"][0]
    assert f"{strongest['block']}→{strongest['other_block']} {strongest['coupling']:.3f}" in printed(summary)


def test_names_are_text_and_not_markup(summary):
    summary["provenance"]["model"] = "[red]model[/red]"
    assert "[red]model[/red]" in printed(summary)


def test_a_tolerance_that_was_not_met_is_said(summary):
    assert "tolerance" not in printed(summary)
    assert "tolerance" in printed(summary | {"singular_values_converged": False})
