"""Every word that heads a column of a printed table is in the glossary."""

import io
import re
from itertools import pairwise

import pytest
from rich.console import Console

import coupling
from coupling.analyses.correlation.correlate import correlate
from coupling.analyses.correlation.published import published_table
from coupling.analyses.rl.run_table import rl_run_table
from coupling.analyses.rl.saved_run import read_rl_run
from coupling.choices import CALIBRATED
from coupling.cli.render.comparison import print_comparison
from coupling.cli.render.correlation import print_correlation
from coupling.cli.render.rl import print_rl_run, print_rl_table
from coupling.cli.render.run import TOKEN_MEASURES, print_run
from coupling.cli.render.run_table import print_run_table
from tests.helpers import ROOT
from tests.saved_rl import write_rl_run

PLAIN = {"seed", "seeds", "steps", "objective", "predictor", "kind", "blocks", "prompts", "run", "1", "2", "difference"}
"""Titles that need no explanation."""


@pytest.fixture(scope="module")
def glossary():
    return (ROOT / "docs/concepts/glossary.md").read_text(encoding="utf-8").replace("`", "")


@pytest.fixture(scope="module")
def tables(run, untrained, tmp_path_factory):
    """Everything that commands print as tables, on a wide terminal."""
    folder = write_rl_run(tmp_path_factory.mktemp("rl") / "a")
    saved = read_rl_run(folder)
    console = Console(file=io.StringIO(), width=200)
    print_run(coupling.summarize(run), console, all_variants=True)
    print_run_table(coupling.run_table({"a": run, "b": untrained}), console)
    print_comparison(coupling.compare_runs(run, untrained), ("a", "b"), console)
    print_correlation(correlate(published_table(), resamples=9), console)
    print_rl_run(saved, console)
    print_rl_table(rl_run_table([saved]), console)
    return console.file.getvalue().splitlines()


def test_the_titles_of_columns_are_in_the_glossary(glossary, tables):
    heads = [above for above, line in pairwise(tables) if re.fullmatch(r"\s*─[─\s]+", line)]
    titles = {title for head in heads for title in re.split(r"\s{2,}", head.strip())} - PLAIN
    assert {"excess", "± s.e.", "R²", "Holm", "reward", "z"} - titles <= {"Holm"}
    words = {re.sub(r" [12]$", "", title) for title in titles}
    missing = [word for word in sorted(words) if not re.search(rf"(^|[|,\s]){re.escape(word)}([|,\s]|$)", glossary)]
    assert missing == []


def test_the_names_of_measures_are_in_the_glossary(glossary):
    names = [measure.label for measure in CALIBRATED] + list(TOKEN_MEASURES.values())
    flat = glossary.replace("signed, absolute diagonal", "signed diagonal, absolute diagonal")
    missing = [name for name in names if name not in flat and not name.endswith("overlap")]
    assert missing == []
    assert "left_overlap" in glossary
