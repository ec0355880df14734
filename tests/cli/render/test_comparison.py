"""How a comparison looks on a terminal."""

import io

from rich.console import Console

import coupling
from coupling.cli.render.comparison import print_comparison


def printed(first, second):
    text = io.StringIO()
    print_comparison(coupling.compare_runs(first, second), ("[a]", "b"), Console(file=text, width=120))
    return text.getvalue()


def test_identical_runs(measured):
    text = printed(measured, measured)
    assert "same numbers" in text
    assert "[a]" in text


def test_runs_that_differ(measured):
    other = measured.copy(deep=True)
    other["mismatch"] = other.mismatch * 0.5
    other.attrs["model"] = "[other]"
    text = printed(measured, other)
    assert "same numbers" not in text
    assert "The prompts differ" in text
    assert "[other]" in text
    assert "largest difference of a pair's mismatch" in text
