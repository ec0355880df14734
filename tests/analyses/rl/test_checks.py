"""Mappings checked against dataclasses."""

from dataclasses import dataclass
from typing import Any

import pytest

from coupling import CouplingError
from coupling.analyses.rl.checks import check_fields, did_you_mean, has_type


@dataclass
class Example:
    count: int
    title: str | None = None
    ratios: tuple[int | str, ...] = ()
    texts: tuple[str, ...] | str | None = None
    switch: bool = False
    settings: dict[str, Any] | None = None


def test_values_of_the_right_types_pass():
    content = {"count": 3, "title": None, "ratios": [1, 2], "texts": "a file", "switch": True, "settings": {"a": 1}}
    assert check_fields(Example, content) == content
    assert check_fields(Example, {"ratios": 4, "texts": ["a", "b"]}) == {"ratios": 4, "texts": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "the content is not a mapping with the keys count, title"),
        ({"counts": 1}, r"there is no key counts \(did you mean count\?\); the known keys are count"),
        ({"count": "3"}, "count is '3', but must be a whole number"),
        ({"count": True}, "count is True"),
        ({"count": None}, "count is None"),
        ({"count": [3]}, "count is "),
        ({"ratios": [1, 2.5]}, "ratios is .*must be whole numbers, or shares"),
        ({"ratios": [True]}, "ratios is "),
        ({"texts": [{"a": 1}]}, "texts is .*must be texts or a file"),
        ({"switch": 1}, "switch is 1, but must be true or false"),
        ({"settings": "fast"}, "settings is 'fast', but must be a mapping"),
    ],
)
def test_everything_else_is_refused(content, message):
    with pytest.raises(CouplingError, match=message):
        check_fields(Example, content)


def test_messages_begin_with_the_prefix():
    with pytest.raises(CouplingError, match=r"^data is not a mapping"):
        check_fields(Example, None, "data.")
    with pytest.raises(CouplingError, match=r"no key data\.color"):
        check_fields(Example, {"color": 1}, "data.")


def test_true_is_not_a_number():
    assert has_type(1, int)
    assert not has_type(True, int, float)
    assert has_type(True, bool, int)


def test_a_name_that_resembles_none_gets_no_suggestion():
    assert did_you_mean("zzz", ["count"]) == ""
