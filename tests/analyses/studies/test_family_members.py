"""The design of the family, and the bundled table that was made with it."""

import numpy as np
import pytest

from coupling.analyses.correlation.small_models import family_table
from coupling.analyses.studies.family_members import STEPS, members


def test_the_design_of_the_family():
    family = members()
    assert len(family) == 36
    assert len({member.name for member in family}) == len(family)
    values = np.array([[m.layers, m.hidden, m.steps, m.data_share] for m in family])
    assert np.corrcoef(values.T) == pytest.approx(np.eye(4), abs=1e-12)
    by_steps = [[member.shape for member in family if member.steps == steps] for steps in STEPS]
    assert [len(group) for group in by_steps] == [18, 18]
    costs = [member.cost for member in family]
    assert costs == sorted(costs, reverse=True)


def test_a_quick_look_shortens_every_training():
    assert {member.steps for member in members(0.02)} == {2, 6}
    assert {member.steps for member in members(1e-9)} == {1}


def test_the_bundled_table_is_of_these_members():
    frame = family_table().frame
    assert set(frame.index) == {member.name for member in members()}
    for member in members():
        row = frame.loc[member.name]
        assert (row["depth"], row["width"], row["steps"]) == (member.layers, member.hidden, member.steps)
        assert row["data_share"] == member.data_share
        assert row["family"] == member.shape
