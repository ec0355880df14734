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


def test_what_the_page_says(runs):
    text, table = text_of(PAGE), by_objective(runs)
    assert set(table["seeds"]) == {3}
    assert table["area_low"].to_numpy() == pytest.approx(
        runs.groupby(["condition", "objective"], sort=False)["area"].min()
    )
    assert table["area_high"].to_numpy() == pytest.approx(
        runs.groupby(["condition", "objective"], sort=False)["area"].max()
    )
    assert f"{len(runs)} of the {len(planned())} planned runs are finished: every objective in every condition" in text
    (lost,) = runs[runs["lost"]].to_dict("records")
    assert (lost["condition"], lost["objective"]) == ("4 bits", "P3O, weighted KL")
    assert f"One run of the {len(runs)} lost half its peak" in text
    rows = table.set_index(["condition", "objective"])
    others = table[table["objective"] != "P3O, batch"].set_index("condition")
    temperature = others.loc["T 1.2 as 1"]
    assert (temperature["difference_low"] < 0).all()
    assert (temperature["difference_high"] > 0).all()
    behind = [-rows.loc[("lag 0 to 4", name), "difference"] for name in ("DAPO 0.2", "DAPO 0.4")]
    assert f"by {behind[0]:.2f} (clip range 0.2) and {behind[1]:.2f} (0.4)" in text
    for name in ("P3O, micro", "P3O, weighted KL"):
        row = rows.loc[("lag 0 to 4", name)]
        assert row["difference_low"] < 0 < row["difference_high"]
    old = rows.loc["16 old"]["area"]
    assert f"an area of {old['P3O, batch']:.2f} (*batch*) and {old['P3O, micro']:.2f} (*micro*)" in text
    assert f"against {old['DAPO 0.2']:.2f} and {old['DAPO 0.4']:.2f} for DAPO" in text
    assert f"it is at {old['P3O, weighted KL']:.2f}" in text
    bits = [rows.loc[("4 bits", name), "difference"] for name in ("P3O, weighted KL", "DAPO 0.2", "DAPO 0.4")]
    assert f"by {min(bits):.2f} to {max(bits):.2f}" in text
    ratios = [
        rows.loc[(condition, name), "kl"] / rows.loc[(condition, "P3O, batch"), "kl"]
        for condition in rows.index.unique(0)
        for name in ("DAPO 0.2", "DAPO 0.4")
    ]
    assert f"Its KL is {min(ratios):.0f} to {max(ratios):.0f} times" in text


def test_what_has_the_same_sign_in_every_seed(runs):
    areas = runs.pivot_table(index=["condition", "seed"], columns="objective", values="area")
    reference = areas["P3O, batch"]
    for name in ("DAPO 0.2", "DAPO 0.4"):
        assert (areas[name] < reference).loc["lag 0 to 4"].all()
    for name in ("P3O, weighted KL", "DAPO 0.2", "DAPO 0.4"):
        assert (areas[name] > reference).loc["16 old"].all()
        assert (areas[name] > reference).loc["4 bits"].all()
