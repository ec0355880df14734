"""The design of the family, and the bundled table that was made with it."""

import numpy as np

from coupling.analyses.correlation.small_models import family_table
from coupling.analyses.studies.family_members import members


def test_the_design_of_the_family():
    family = members()
    assert len(family) >= 16
    assert len({member.name for member in family}) == len(family)
    values = np.array([[m.steps, m.weight_decay, m.data_share] for m in family])
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.15
    for axis in ("layers", "hidden", "steps", "weight_decay", "data_share"):
        assert len({getattr(member, axis) for member in family}) >= 3
    costs = [member.cost for member in family]
    assert costs == sorted(costs, reverse=True)


def test_a_quick_look_shortens_every_training():
    assert {member.steps for member in members(0.01)} == {3, 8, 20}
    assert {member.steps for member in members(1e-9)} == {1}


def test_the_bundled_table_is_of_these_members():
    frame = family_table().frame
    assert set(frame.index) == {member.name for member in members()}
    for member in members():
        row = frame.loc[member.name]
        assert (row["depth"], row["width"], row["steps"]) == (member.layers, member.hidden, member.steps)
        assert (row["weight_decay"], row["data_share"]) == (member.weight_decay, member.data_share)
        assert row["family"] == member.shape
