"""The page says how many of the planned runs are in, and its tables follow from their files."""

import re

import pandas as pd
import pytest

from coupling.analyses.studies.lead_time.design import (
    BAD,
    BASELINE,
    COUPLING,
    EVERY,
    FAULTS,
    HEALTHY,
    HEALTHY_SEEDS,
    RIVALS,
    SEEDS,
    SIGNALS,
    STEPS,
    planned,
)
from coupling.analyses.studies.lead_time.faults import BONUS, ONSET
from coupling.analyses.studies.lead_time.picture import label_of
from coupling.analyses.studies.lead_time.results import ALLOWED, alarms, by_run, by_signal, read_curves, severities
from coupling.analyses.studies.lead_time.study import RESULTS
from tests.docs.pages import tables_of, text_of

PAGE = "results/lead-time.md"
NONE = "–"


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    return read_curves(planned(), RESULTS)


def update(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:.0f}"


def lead(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:+.0f}"


def runs_table(curves: pd.DataFrame) -> list[list[str]]:
    """One row per fault: when its runs went bad, in the order of seeds, and the means of their peaks and ends."""
    runs = by_run(curves)
    return [
        [
            str(fault),
            str(len(part)),
            ", ".join(update(value) for value in part.sort_values("seed")["bad"]),
            f"{part['peak'].mean():.2f}",
            f"{part['end'].mean():.2f}",
        ]
        for fault, part in runs.groupby("fault", sort=False)
    ]


def signals_table(curves: pd.DataFrame) -> list[list[str]]:
    """One row per signal: alarms at both thresholds, and the lead times without false alarms, in the order of seeds."""
    runs = by_run(curves)
    strict = alarms(severities(curves), runs, ALLOWED[0])
    strict = strict[strict["bad"].notna()].sort_values("seed")
    counts = by_signal(curves).set_index(["signal", "allowed"])
    rows = []
    for signal in SIGNALS:
        none, one = (counts.loc[(signal, allowed)] for allowed in ALLOWED)
        own = strict[strict["signal"] == signal]
        by_fault = [
            ", ".join(lead(value) for value in own[own["fault"] == fault]["lead"])
            for fault in FAULTS
            if fault != HEALTHY
        ]
        rows.append(
            [
                label_of(signal),
                f"{none['threshold']:.1f}",
                f"{none['before']} / {none['late']} / {none['none']}",
                lead(none["median_lead"]),
                *by_fault,
                f"{one['before']} / {one['late']} / {one['none']}",
                lead(one["median_lead"]),
                f"{none['separation']:.2f}",
            ]
        )
    return rows


def test_the_number_of_finished_runs(curves):
    found = re.search(r"(\d+) of the (\d+) planned runs are finished", text_of(PAGE))
    assert found is not None
    done = len(curves.drop_duplicates(["fault", "seed"]))
    assert (int(found[1]), int(found[2])) == (done, len(planned()))
    assert {path.name for path in RESULTS.glob("*.json")} <= {plan.file for plan in planned()}


def test_the_tables_follow_from_the_files(curves):
    _, runs, signals = tables_of(PAGE)
    assert runs[1:] == runs_table(curves)
    assert signals[1:] == signals_table(curves)
    committed = {name: pd.read_csv(RESULTS.parent / f"lead-time{name}.csv") for name in ("", "-runs", "-alarms")}
    expected = {
        "": by_signal(curves),
        "-runs": by_run(curves),
        "-alarms": alarms(severities(curves), by_run(curves), ALLOWED[0]),
    }
    for name, table in expected.items():
        pd.testing.assert_frame_equal(committed[name], table.round(4), check_dtype=False)


def test_runs_of_one_seed_are_the_same_until_the_onset(curves):
    before = curves[curves["step"] <= ONSET].drop(columns=["fault", "ended"])
    for _, part in before.groupby(["seed", "step"]):
        assert len(part.drop_duplicates()) == 1


def test_the_design_on_the_page_is_that_of_the_code():
    text = text_of(PAGE)
    fault = FAULTS["rate"]
    assert f"all from update {ONSET} on" in text
    assert f"the learning rate doubles every {fault.doubling} updates" in text
    assert f"samples at temperature {FAULTS['temperature'].temperature:.0f} and reports" in text
    assert f"plus up to {BONUS} for a longer one" in text
    assert f"P3O, {STEPS} updates of 128 completions" in text
    assert f"({SEEDS[0]} to {SEEDS[-1]}), and six healthy runs ({SEEDS[0]} to {HEALTHY_SEEDS[-1]})" in text
    assert f"every {EVERY} updates: the policy's own reward" in text
    assert f"is below {BAD:.0%} of its peak so far" in text
    assert f"at updates {BASELINE[0]} to {BASELINE[1]} than a threshold" in text
    assert f"({len(COUPLING)} measures of the model, {len(RIVALS)} rivals" in text


def test_what_the_page_says_of_the_signals(curves):
    text, table, runs = text_of(PAGE), by_signal(curves), by_run(curves)
    rows = table.set_index(["signal", "allowed"])
    coupling, rivals = (table[table["group"] == group] for group in ("coupling", "rival"))
    strict, lenient = (coupling[coupling["allowed"] == allowed] for allowed in ALLOWED)
    bad = int(strict["bad"].iloc[0])
    faulty = runs[runs["fault"] != HEALTHY]
    healthy_bad = runs[(runs["fault"] == HEALTHY) & runs["bad"].notna()]
    assert f"All {len(faulty)} runs with a fault went bad" in text
    assert bad == len(faulty)
    assert sorted(healthy_bad["bad"]) == [56.0, 92.0, 140.0]
    assert (runs["fault"] == HEALTHY).sum() == 6
    assert set(faulty[faulty["seed"] == 202]["bad"]) == {52.0, 56.0}  # an alarm comes at 56 at the earliest
    assert f"came before the reward in more than {strict['before'].max()} of the {bad} runs" in text
    assert rows.loc[("score", 0), "before"] == rows.loc[("excess", 0), "before"] == 0
    best = lenient.loc[lenient["before"].idxmax()]
    assert f"{label_of(best['signal'])} is the best of them, with {best['before']} of {bad}" in text
    assert f"Their separation is at most {coupling['separation'].max():.2f}" in text
    mismatch = rows.loc[("mismatch_to_initial", 0), "before"]
    assert f"[an earlier study](p3o.md), came before in {mismatch}." in text
    counts = {signal: rows.loc[(signal, 0), "before"] for signal in RIVALS}
    assert f"in {counts['grad_norm']} of the {bad} runs for the gradient norm" in text
    assert f"{counts['reward']} for the trained reward" in text
    assert f"{counts['ess']} each for ess and kl" in text
    assert counts["ess"] == counts["kl"]
    kl = rows.loc[("kl", 1)]
    assert f"kl comes before in {kl['before']} of {bad}, {kl['median_lead']:.0f} updates in the median" in text
    highest = table["separation"].max()
    assert f"The separation of ess and kl, {highest:.2f}, is the highest" in text
    assert rows.loc[("ess", 1), "separation"] == kl["separation"] == highest == rivals["separation"].max()
    assert coupling["separation"].max() < 0.5


def test_the_dips_of_healthy_runs(curves):
    lowest = {}
    for key, part in curves.groupby(["fault", "seed"]):
        means = part["held_out_reward"].rolling(3).mean()
        lowest[key] = (means / means.cummax())[part["step"] > ONSET].min()
    dips = sorted(value for (fault, _), value in lowest.items() if fault == HEALTHY and value < BAD)
    assert f"below 85% of its peak, to {dips[0]:.0%}, {dips[1]:.0%} and {dips[2]:.0%}" in text_of(PAGE)
    assert sum(value < 0.8 for (fault, _), value in lowest.items() if fault != HEALTHY) == 12
    assert sum(value < 0.8 for (fault, _), value in lowest.items() if fault == HEALTHY) == 1


def test_what_the_page_says_of_the_faults(curves):
    leads = alarms(severities(curves), by_run(curves), ALLOWED[0]).dropna(subset=["bad"])
    before = leads[leads["lead"] > 0]
    assert set(before[before["fault"] == "reward"]["signal"]) == {"reward"}
    for signal, seeds in (("reward", 3), ("grad_norm", 2)):
        at_once = leads[(leads["fault"] == "temperature") & (leads["signal"] == signal)]["alarm"].dropna()
        assert at_once.tolist() == [ONSET + 2 * EVERY] * seeds
    for fault in ("stale", "rate"):
        for signal in ("ess", "kl", "grad_norm"):
            found = before[(before["fault"] == fault) & (before["signal"] == signal)]["lead"]
            assert 1 <= len(found) <= 2
            assert found.between(4, 24).all()
