"""Where benchmark scores may come from."""

import pytest

from coupling.analyses.correlation.sources import source_of
from coupling.errors import CouplingError


def test_every_source(tmp_path):
    (tmp_path / "scores.csv").write_text("model,mmlu\n")
    (tmp_path / "scores.txt").write_text("model,mmlu\n")
    (tmp_path / "results.json").write_text("{}")
    found = {name: source_of(str(tmp_path / name))[0] for name in ("", "scores.csv", "scores.txt", "results.json")}
    assert found == {"": "harness", "scores.csv": "csv", "scores.txt": "csv", "results.json": "harness"}
    assert source_of("leaderboard")[0] == "leaderboard"
    assert source_of("organization/scores")[0] == "hub"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.csv", "cannot read the scores missing.csv: No such file"),
        ("./missing/results.json", "cannot read the scores"),
        ("missing", "there are no scores in missing; give a CSV file"),
        ("./a/b", "there are no scores in ./a/b"),
    ],
)
def test_what_is_missing(name, problem):
    with pytest.raises(CouplingError, match=problem):
        source_of(name)
