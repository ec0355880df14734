"""What the report says outside its charts."""

import coupling
from coupling.choices import CALIBRATED, VARIANTS
from coupling.figures.page.contents import Extent, controls_of, notes_on, summary_of


def test_the_table_has_the_absolute_variant_s_scores(run):
    summary = summary_of(run, "a name")
    assert summary["name"] == "a name"
    assert [(row["k"], row["norm"]) for row in summary["scores"]] == [("3", 1), ("3", 2), ("5", 1), ("5", 2)]
    assert summary["scores"][3]["score"] == f"{coupling.score(run, 5):.3f}"
    mismatch, chance = 1 - coupling.score(run, 5), 1 - coupling.chance_score(run, 5)
    assert summary["scores"][3]["excess"] == f"{100 * (chance - mismatch) / chance:.1f}%"
    assert ("model", run.attrs["model"]) in summary["provenance"]


def test_the_calibrated_measures(run):
    rows = summary_of(run, "a name")["calibrated"]
    assert [(row["k"], row["measure"]) for row in rows] == [
        (k, measure.label) for k in ("3", "5") for measure in CALIBRATED
    ]
    found = coupling.calibrated_score(run, "diagonal_share", 5)
    assert (rows[6]["value"], rows[6]["chance"], rows[6]["z"]) == (f"{found.value:.3f}", "0.200", f"{found.z:.1f}")


def test_a_share_of_the_width_is_named_by_the_share(run):
    (control, *_) = controls_of([run], Extent(1, 100), [3, "10%"])
    assert control["options"] == [(5, "10% of the width"), (3, 3)]


def test_a_single_prompt_has_no_deviation(token_run):
    summary = summary_of(token_run, "a name")
    assert (summary["kind"], summary["prompts"]) == ("self", 1)
    assert {row["sd"] for row in summary["scores"]} == {"–"}


def test_the_controls_offer_what_all_runs_have(run, token_run, pairs_run):
    controls = {control["name"]: control for control in controls_of([run, token_run], Extent(1, 100))}
    assert list(controls) == ["k", "p", "variant", "prompt", "block"]
    assert [value for value, _ in controls["k"]["options"]] == [5, 3]  # the largest is shown first
    assert controls["p"]["options"] == [(2, "2 (Frobenius)"), (1, "1 (trace)")]
    assert [value for value, _ in controls["variant"]["options"]] == [variant.label for variant in VARIANTS]
    assert controls["prompt"]["options"] == [(-1, "mean over prompts"), (0, "0")]  # the texts differ
    assert controls["block"]["chosen"] == "3"
    assert "block" not in [control["name"] for control in controls_of([run], Extent(1, 100))]
    assert "block" not in [control["name"] for control in controls_of([token_run, pairs_run], Extent(1, 100))]
    *_, prompt = controls_of([run], Extent(2, 100))
    assert prompt["options"][1] == (0, "0: import os↵import sys")


def test_notes_say_what_was_left_out(run, untrained, token_run):
    assert notes_on([run, untrained], Extent(3, 100), []) == []
    notes = " ".join(notes_on([run, token_run], Extent(1, 2), [5, 7]))
    assert "K = 5, 7 is left out" in notes
    assert "different numbers of prompts" in notes
    assert "the first 2 measured ones" in notes
    assert "different prompts" in notes
    assert "it contains prompts 0, 1 of 3" in notes_on([run], Extent(2, 100), [])[0]
