"""The page says how many of the planned runs are in, and its table follows from their files."""

import re

import pandas as pd
import pytest

from coupling.analyses.studies.off_policy.design import STEPS, planned
from coupling.analyses.studies.off_policy.results import by_objective, by_run, read_curves
from coupling.analyses.studies.off_policy.study import RESULTS
from tests.docs.pages import tables_of, text_of

PAGE = "results/off-policy.md"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    curves = read_curves(planned(), RESULTS)
    return pd.DataFrame() if curves.empty else by_run(curves, STEPS)


def cells(row) -> list[str]:
    """A row of the page's table."""
    against = "" if pd.isna(row.difference_low) else f"{row.difference_low:+.2f} to {row.difference_high:+.2f}"
    interval = "" if pd.isna(row.area_low) else f" ({row.area_low:.2f} to {row.area_high:.2f})"
    return [
        row.condition,
        row.objective,
        str(row.seeds),
        f"{row.area:.2f}{interval}",
        against,
        f"{row.n_lost} of {row.seeds}",
        f"{row.ess:.2f} / {row.ess_micro:.2f}",
        f"{row.kl:.2f}",
    ]


def test_the_number_of_finished_runs(runs):
    found = re.search(r"(\d+) of the (\d+) planned runs (?:is|are) finished", text_of(PAGE))
    assert found is not None
    assert (int(found[1]), int(found[2])) == (len(runs), len(planned()))


def test_no_file_is_there_without_a_plan():
    assert {path.name for path in RESULTS.glob("*")} <= {plan.file for plan in planned()}


def test_the_table_follows_from_the_files(runs):
    tables = tables_of(PAGE)
    if runs.empty:
        assert len(tables) == 1  # the design
        return
    _, *rows = tables[1]
    assert rows == [cells(row) for row in by_objective(runs).itertuples()]
    for name, table in (("off-policy.csv", by_objective(runs)), ("off-policy-runs.csv", runs)):
        committed = pd.read_csv(RESULTS.parent / name)
        pd.testing.assert_frame_equal(committed, table.round(4), check_dtype=False)
