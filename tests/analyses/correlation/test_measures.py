"""The measures of a run: their names, and their values against those of the library."""

import numpy as np
import pandas as pd
import pytest

import coupling
from coupling.analyses.correlation.measures import (
    default_measure,
    is_measure,
    is_plain,
    largest_k,
    measure_name,
    measures_of,
)
from coupling.choices import CALIBRATED


def test_every_score_of_a_run_is_a_measure(measured):
    measures = measures_of(measured)
    assert measures["coupling K=3 p=1"] == pytest.approx(coupling.score(measured, 3, 1))
    assert measures["chance K=3 p=1"] == pytest.approx(coupling.chance_score(measured, 3, 1))
    score, chance = coupling.score(measured, 2, 2), coupling.chance_score(measured, 2, 2)
    assert measures["excess K=2 p=2"] == pytest.approx((score - chance) / (1 - chance))
    assert measures["coupling K=2 p=2 swapped signed"] == pytest.approx(
        coupling.score(measured, 2, 2, signed=True, swapped=True)
    )
    lss = measured.line_shape_score.values
    assert measures["line-shape score"] == pytest.approx(np.median(lss[np.isfinite(lss)]))
    assert {"expodistance", "residual growth"} <= set(measures)
    for measure in CALIBRATED:
        found = coupling.calibrated_score(measured, measure.name, 3)
        assert measures[f"{measure.label} K=3"] == pytest.approx(found.value)
        assert measures[f"{measure.label} z K=3"] == pytest.approx(found.z)
    assert len(measures) == 2 * 2 * (2 * 4 + 1) + 2 * 2 * len(CALIBRATED) + 3


def test_a_share_of_the_width_is_named_by_the_share(measured):
    run = measured.assign_coords(k_label=("k", ["2", "10%,3"]))
    measures = measures_of(run)
    assert measures["excess K=10% p=2"] == measures["excess K=3 p=2"] == measures_of(measured)["excess K=3 p=2"]
    assert measures["diagonal share K=10%"] == measures["diagonal share K=3"]
    assert all(map(is_measure, measures))
    assert largest_k(measures) == 3


def test_the_names_of_measures_are_recognized(measured):
    names = list(measures_of(measured))
    assert all(map(is_measure, names))
    assert not any(map(is_measure, ("exact match", "parameters", "excess K=10", "excess K=10 p=3", "chance K=1 p=2 x")))
    assert [name for name in names if not is_plain(name)] == [
        name for name in names if name.endswith(("signed", "swapped"))
    ]
    assert measure_name("excess", 10, 2, "swapped signed") == "excess K=10 p=2 swapped signed"
    assert measure_name("excess", 10, 2, "absolute") == "excess K=10 p=2"


def test_the_default_measure():
    frame = pd.DataFrame({"excess K=10 p=2": [1, np.nan], "excess K=5 p=2": [1, 2], "excess K=5 p=1": [1, 2]})
    assert default_measure(frame, list(frame)) == "excess K=5 p=2"  # more models have it
    assert default_measure(frame.dropna(), list(frame)) == "excess K=10 p=2"
    assert default_measure(frame, ["excess K=5 p=1"]) == "excess K=5 p=1"
    shared = pd.DataFrame({"excess K=57 p=2": [1, np.nan], "excess K=10% p=2": [1, 2]})
    assert default_measure(shared, list(shared)) == "excess K=10% p=2"
