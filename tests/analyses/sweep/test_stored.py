"""A study's files are checked as they are read."""

import json

import pytest

from coupling.analyses.sweep.stored import has_fields, read_content
from coupling.errors import CouplingError

TASK = {"name": "a@step1", "model": "a", "revision": "step1", "step": 1, "path": "/a", "on_hub": False}
CONTENT = {
    "declared": [["a", []]],
    "settings": {"k": [5], "chat": False},
    "prompts": {"texts": ["a"], "source": "texts", "conversations": None},
    "tasks": [TASK],
}


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": None},
        {"tasks": [TASK | {"name": "../../outside"}]},
        {"tasks": [TASK | {"name": ".."}]},
        {"tasks": [TASK | {"step": "1"}]},
        {"tasks": [TASK, TASK]},
        {"settings": {"k": "many"}},
        {"settings": {"out": "elsewhere"}},
        {"prompts": {"texts": [], "source": "texts", "conversations": None}},
        {"prompts": {"texts": [1], "source": "texts", "conversations": None}},
        {"images": {}},
    ],
)
def test_a_damaged_study_is_refused(tmp_path, change):
    path = tmp_path / "study.json"
    path.write_text(json.dumps(CONTENT))
    assert read_content(path) == CONTENT
    path.write_text(json.dumps(CONTENT | change))
    with pytest.raises(CouplingError, match=r"study\.json is damaged: it is not what coupling sweep writes"):
        read_content(path)


def test_numbers_are_finite_and_moderate():
    for value in (float("nan"), float("inf"), 10**30, True, "3"):
        assert not has_fields({"pid": value}, {"pid": (int, float)})
    assert not has_fields({}, {"pid": (int,)})
