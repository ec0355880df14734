"""A member that is finished is kept, and one that was trained in another way is refused."""

from dataclasses import asdict, replace

import pytest

from coupling.analyses.studies.family_members import MEMBER, members
from coupling.analyses.studies.family_training import make_member
from coupling.errors import CouplingError
from coupling.files import to_json


def test_a_finished_member_is_not_made_again(tmp_path):
    member = members()[0]
    record = {"member": asdict(member), "scores": {"bits per byte": 1.5}}
    (tmp_path / member.name).mkdir()
    (tmp_path / member.name / MEMBER).write_bytes(to_json(record))
    assert make_member(member, tmp_path) == record
    with pytest.raises(CouplingError, match=f"{member.name} contains a member that was trained in another way"):
        make_member(replace(member, seed=9), tmp_path)
