"""The summary at the top of the page, and the table that compares runs."""

import numpy as np
import pytest

import coupling
from coupling.choices import CALIBRATED
from coupling.figures.page.opening import calibrated_rows, comparison, opening, percent, provenance, title
from coupling.numbers_as_text import significant
from coupling.uncertainty import Estimate, excess_difference, excess_estimate
from tests.figures.page.helpers import material


def text_of(*runs, skip=0):
    found = opening(material(*runs), skip)
    return " ".join([*found["paragraphs"], *found["careful"]])


def test_the_title_is_the_model(run, untrained):
    assert title(material(run)) == "bundled"
    assert title(material(run, untrained)) == "bundled and bundled (random weights)"
    assert title(material(run, run, untrained, untrained)) == "bundled #1, bundled #2 and 2 more models"


def test_the_sentences_say_what_was_measured_and_what_came_out(run):
    text = text_of(run)
    assert "bundled has 8 blocks. Each block's Jacobian was compared with each other's" in text
    assert "at the last token of each prompt, on 3 prompts." in text
    estimate = excess_estimate(run, 5)
    assert f"At K = 5 and p = 2 the coupling is {significant(coupling.score(run))}" in text
    assert f"random frames would give {significant(coupling.chance_score(run))}" in text
    assert f"{100 * estimate.value:.1f} ± {100 * estimate.standard_error:.1f} %, clearly above chance." in text
    mean = 1 - run.mismatch.sel(k=5, norm=2).mean("prompt").values
    np.fill_diagonal(mean, -1)
    first, second = sorted(int(at) for at in np.unravel_index(mean.argmax(), mean.shape))
    assert f"blocks {first} and {second}" in text
    assert "There are only 3 prompts" in text


def test_random_weights_are_not_told_from_chance(untrained):
    text = text_of(untrained)
    assert "strongest" not in text or "clearly above" in text
    assert "This model has random weights: it is a baseline" in text


def test_one_prompt_and_tokens(token_run, all_tokens_run):
    text = text_of(token_run)
    assert "In bundled, one block's Jacobians at different tokens were compared with each other" in text
    assert "its uncertainty is not known" in text
    assert "has no standard error" in text
    assert "averaged over the measured tokens of each prompt" in text_of(all_tokens_run)


def test_what_differs_between_runs_is_said(run, untrained, token_run):
    both = opening(material(run, token_run), 0)["careful"]
    assert any("different prompts" in note for note in both)
    wide = untrained.copy()
    wide.attrs["width"] = 7
    assert any("different widths" in note for note in opening(material(run, wide), 0)["careful"])
    zero = run.copy()
    zero["singular_values"] = run.singular_values.where(run.block != 2, 0)
    zero.attrs["weights_format"] = "gguf Q4_1"
    text = text_of(zero)
    assert "Blocks 2 add nothing" in text
    assert "stored in Q4_1" in text
    many = opening(material(*[run] * 9), 0)["paragraphs"]
    assert many[-1] == "3 more runs are in the table below."


def test_the_table_compares_runs(run, untrained, token_run):
    found = comparison(material(run, untrained))
    first, second = found["rows"]
    assert found["paired"]
    assert first["difference"] == "–"
    difference = excess_difference(run, untrained, 5)
    assert second["difference"] == percent(difference, " points", sign=True)
    assert second["excess"] == percent(excess_estimate(untrained, 5))
    assert second["coupling"] == significant(coupling.score(untrained))
    assert [(row["k"], row["p"]) for row in found["scores"]] == [("3", 1), ("3", 2), ("5", 1), ("5", 2)] * 2
    assert comparison(material(run, token_run))["rows"][1]["difference"] == "–"  # of another kind


def test_the_calibrated_measures(run):
    rows = calibrated_rows(material(run))
    assert [(row["k"], row["measure"]) for row in rows] == [
        (k, measure.label) for k in ("3", "5") for measure in CALIBRATED
    ]
    found = coupling.calibrated_score(run, "diagonal_share", 5)
    assert (rows[6]["value"], rows[6]["chance"], rows[6]["z"]) == (f"{found.value:.3f}", "0.200", f"{found.z:.1f}")


def test_provenance_is_that_of_the_run(run):
    (found,) = provenance(material(run))
    assert ("model", run.attrs["model"]) in found["rows"]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.155, 0.004), "15.5 ± 0.4 %"),
        (Estimate(-0.00001, 0.0001), "0.00 ± 0.01 %"),
        (Estimate(0.1, None), "10.0 %"),
    ],
)
def test_excess_is_rounded_to_its_error(estimate, text):
    assert percent(estimate) == text
