"""The controls of the page, and its notes on what was left out."""

from coupling.choices import VARIANTS
from coupling.figures.page.contents import SECTIONS, controls_of, notes_on
from coupling.figures.page.section import MEAN
from tests.figures.page.helpers import material


def test_the_controls_offer_what_all_runs_have(run, token_run, pairs_run):
    controls = {one["name"]: one for one in controls_of(material(run, token_run, skips=(0, 1), ks=(3, "10%")), 1)}
    assert list(controls) == ["show", "k", "p", "variant", "prompt", "block", "skip"]
    assert controls["show"]["chosen"] == "excess"
    assert controls["k"]["options"] == [(1, "10% of the width"), (0, "3")]  # the largest is shown first
    assert controls["p"]["options"] == [(2, "2 (Frobenius)"), (1, "1 (trace)")]
    assert [value for value, _ in controls["variant"]["options"]] == [variant.label for variant in VARIANTS]
    assert controls["prompt"]["options"] == [(MEAN, "mean over prompts"), (0, "0")]  # the texts differ
    assert controls["block"]["chosen"] == "3"
    assert controls["skip"] == {
        "name": "skip", "label": "first tokens left out", "options": [(0, "none"), (1, "1")], "chosen": 1,
    }  # fmt: skip
    names = [one["name"] for one in controls_of(material(token_run, pairs_run), 0)]
    assert "block" not in names
    assert "skip" not in names
    prompt = next(one for one in controls_of(material(run, prompts=2), 0) if one["name"] == "prompt")
    assert prompt["options"][1] == (0, "0: import os↵import sys")


def test_notes_say_what_was_left_out(run, untrained, token_run):
    assert notes_on(material(run, untrained, prompts=3), []) == []
    notes = " ".join(notes_on(material(run, token_run, tokens=2, bits=8, variants=1), [5, 7]))
    for part in ("K = 5, 7 is left out", "different numbers of prompts", "the first 2 measured ones", "1/254",
                 "absolute variant alone"):  # fmt: skip
        assert part in notes
    assert "it contains prompts 0, 1 of 3" in notes_on(material(run, prompts=2), [])[0]


def test_sections_have_different_names():
    assert len({section.name for section in SECTIONS}) == len(SECTIONS)
