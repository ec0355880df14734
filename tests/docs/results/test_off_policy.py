"""The page says that all planned runs are in, and its table and sentences follow from their files."""

import json

import pandas as pd
import pytest

from coupling.analyses.studies.off_policy.design import STEPS, planned
from coupling.analyses.studies.off_policy.results import by_objective, by_run, read_curves
from coupling.analyses.studies.off_policy.study import RESULTS
from tests.docs.pages import tables_of, text_of

PAGE = "results/off-policy.md"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return by_run(read_curves(planned(), RESULTS), STEPS)


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
    assert len(runs) == len(planned())
    assert f"All {len(runs)} planned runs are finished" in text_of(PAGE)


def test_no_file_is_there_without_a_plan():
    assert {path.name for path in RESULTS.glob("*")} <= {plan.file for plan in planned()}


def test_the_table_follows_from_the_files(runs):
    _, *rows = tables_of(PAGE)[1]  # the first is the design
    assert rows == [cells(row) for row in by_objective(runs).itertuples()]
    for name, table in (("off-policy.csv", by_objective(runs)), ("off-policy-runs.csv", runs)):
        committed = pd.read_csv(RESULTS.parent / name)
        pd.testing.assert_frame_equal(committed, table.round(4), check_dtype=False)


def test_what_the_page_says(runs):
    text, table = text_of(PAGE), by_objective(runs)
    assert set(table["seeds"]) == {5}
    assert "Intervals are over five seeds" in text
    (lost,) = runs[runs["lost"]].to_dict("records")
    assert (lost["condition"], lost["objective"]) == ("4 bits", "P3O, weighted KL")
    assert f"One run of the {len(runs)} lost half its peak" in text
    rows = table.set_index(["condition", "objective"])

    def ahead(condition, name):
        """By how much P3O (batch) is ahead, as the page writes it."""
        return f"{-rows.loc[(condition, name), 'difference']:.2f}"

    def contains_zero(condition, name):
        row = rows.loc[(condition, name)]
        return row["difference_low"] <= 0 <= row["difference_high"]

    assert f"by {ahead('T 1.2 as 1', 'DAPO 0.2')} (clip range 0.2; the interval contains 0) and by" in text
    assert contains_zero("T 1.2 as 1", "DAPO 0.2")
    assert f"by {ahead('T 1.2 as 1', 'DAPO 0.4')} (0.4), of *micro* by {ahead('T 1.2 as 1', 'P3O, micro')}," in text
    assert not contains_zero("T 1.2 as 1", "DAPO 0.4")
    assert f"and of the weighted regularizer by {ahead('T 1.2 as 1', 'P3O, weighted KL')}" in text
    warm = rows.loc["T 1.2 as 1"]["area"]
    assert warm.idxmax() == "P3O, batch"
    assert f"{warm['P3O, micro']:.2f} against {warm['DAPO 0.2']:.2f} and {warm['DAPO 0.4']:.2f}" in text
    assert warm["DAPO 0.4"] < warm["P3O, micro"] < warm["DAPO 0.2"]
    behind = [ahead("lag 0 to 4", name) for name in ("DAPO 0.2", "DAPO 0.4")]
    assert f"by {behind[0]} (clip range 0.2) and {behind[1]} (0.4)" in text
    assert contains_zero("lag 0 to 4", "P3O, micro")
    assert f"the weighted regularizer costs {ahead('lag 0 to 4', 'P3O, weighted KL')}" in text
    old = rows.loc["16 old"]["area"]
    assert f"an area of {old['P3O, batch']:.2f} (*batch*) and {old['P3O, micro']:.2f} (*micro*, the" in text
    assert {f"{old[name]:.2f}" for name in ("DAPO 0.2", "DAPO 0.4")} == {"0.60"}
    assert "against 0.60 for DAPO at either clip range" in text
    assert f"it is at {old['P3O, weighted KL']:.2f}" in text
    bits = [rows.loc[("4 bits", name), "difference"] for name in ("DAPO 0.2", "DAPO 0.4", "P3O, weighted KL")]
    assert f"by {bits[0]:.2f} (clip range 0.2, in four of the five seeds) and {bits[1]:.2f} (0.4, in each)" in text
    area = rows.loc["4 bits"]["area"]
    ahead_of_micro = [area[name] - area["P3O, micro"] for name in ("DAPO 0.2", "DAPO 0.4")]
    assert f"and of *micro* by {ahead_of_micro[0]:.2f} and {ahead_of_micro[1]:.2f}" in text
    assert f"it gains {bits[2]:.2f} over *batch*, and the interval contains 0" in text
    assert contains_zero("4 bits", "P3O, weighted KL")
    ratios = [
        rows.loc[(condition, name), "kl"] / rows.loc[(condition, "P3O, batch"), "kl"]
        for condition in rows.index.unique(0)
        for name in ("DAPO 0.2", "DAPO 0.4")
    ]
    assert f"With DAPO it is {min(ratios):.0f} to {max(ratios):.0f} times" in text


def test_how_long_the_runs_took():
    seconds = sum(json.loads(path.read_text())["seconds"] for path in RESULTS.glob("*.json"))
    assert f"the recorded runs took {seconds / 3600:.1f} hours" in text_of(PAGE)


def test_what_has_the_same_sign_in_every_seed(runs):
    areas = runs.pivot_table(index=["condition", "seed"], columns="objective", values="area")
    ahead = areas.drop(columns="P3O, batch").gt(areas["P3O, batch"], axis=0)
    for name in ("DAPO 0.2", "DAPO 0.4"):
        assert not ahead[name].loc["lag 0 to 4"].any()
    for name in ("P3O, weighted KL", "DAPO 0.2", "DAPO 0.4"):
        assert ahead[name].loc["16 old"].all()
    assert ahead["DAPO 0.4"].loc["4 bits"].all()
    assert ahead["DAPO 0.2"].loc["4 bits"].sum() == 4
    for name in ahead.columns:
        assert 0 < ahead[name].loc["T 1.2 as 1"].sum() < 5


def test_what_the_guide_says_of_the_weighted_regularizer(runs):
    text = text_of("guides/post-train-with-p3o.md")
    assert (
        "much more reward than k3 on rollouts that were 16 updates old, and a little less or the same elsewhere" in text
    )
    assert "on rollouts of a model rounded to 4 bits one of five runs lost half its peak" in text
    rows = by_objective(runs).set_index(["objective", "condition"]).loc["P3O, weighted KL"]
    assert rows.loc["16 old", "difference_low"] > 0.05
    elsewhere = rows.drop(index="16 old")
    assert (elsewhere["difference"].abs() < 0.05).all()
    assert (elsewhere["difference_low"] < 0).all()  # nowhere else clearly more
    assert rows.loc["4 bits", ["n_lost", "seeds"]].tolist() == [1, 5]
