"""The score of a run, its chance level and its excess."""

import pytest

import coupling


def test_the_excess_of_a_run(run, untrained):
    rows = coupling.summarize(run)["scores"]
    for row in rows:
        variant = {"signed": "signed" in row["variant"], "swapped": "swapped" in row["variant"]}
        assert coupling.excess(run, row["k"], row["norm"], **variant) == pytest.approx(row["excess"])
    assert coupling.excess(run) == pytest.approx(1 - (1 - coupling.score(run)) / (1 - coupling.chance_score(run)))
    assert abs(coupling.excess(untrained)) < 0.02
    assert coupling.excess(0.45, 0.9) == 0.5
    with pytest.raises(coupling.CouplingError):
        coupling.excess(run, k=4321)
