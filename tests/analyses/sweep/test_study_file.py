"""YAML with the lines of its values."""

import pytest

from coupling.analyses.sweep.study_file import read_study_file
from coupling.errors import CouplingError


def test_the_line_of_every_value(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("# a comment\nmodels:\n  - a\n  - model: b\n    revisions: [x, y]\nk:\n  5\n")
    content, lines = read_study_file(path)
    assert content == {"models": ["a", {"model": "b", "revisions": ["x", "y"]}], "k": 5}
    assert lines["models",] == 2
    assert lines["models", 0] == 3
    assert lines["models", 1, "revisions"] == lines["models", 1, "revisions", 1] == 5
    assert lines["k",] == 6  # the key's line, where the user looks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"models: [a\nk: 3\n", r"study\.yaml is not YAML: .*line 2"),
        (b"k: 3\nmodels: a\nk: 4\n", r"line 3: the key k is given twice, also in 1"),
        (b"models: !!python/object:os.system x\n", r"is not YAML: .*line 1"),
        (b"", r"is empty; it needs at least the key models"),
        (b"\xff\xfe", r"is not UTF-8"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_bytes(text)
    with pytest.raises(CouplingError, match=message):
        read_study_file(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(CouplingError, match=r"cannot read the study file .*No such file"):
        read_study_file(tmp_path / "none.yaml")
