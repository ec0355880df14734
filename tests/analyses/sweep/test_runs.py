"""Studies where runs are asked for."""

from pathlib import Path

import pytest

from coupling.analyses.sweep.runs import checked_runs, runs_of
from coupling.errors import CouplingError


def test_a_study_stands_for_its_finished_runs(swept):
    runs = runs_of(["mine", swept, "other"])
    finished = [swept / "runs" / name for name in ("trained@step1", "trained@step2")]
    assert runs == [Path("mine"), *finished, Path("other")]


def test_a_study_without_a_run(swept):
    for step in (1, 2):
        (swept / "runs" / f"trained@step{step}" / "run.json").unlink()
    with pytest.raises(CouplingError, match="has no finished run yet; coupling status"):
        runs_of([swept])


def test_runs_are_checked_and_not_read(swept, tmp_path):
    assert checked_runs([swept]) == runs_of([swept])
    with pytest.raises(CouplingError, match="contains no run"):
        checked_runs([swept, tmp_path])
