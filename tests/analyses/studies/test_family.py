"""The family made in miniature: resumed, the same again, and its progress messages."""

import json
import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from coupling.analyses.correlation.small_models import BENCHMARKS, TABLE, family_table
from coupling.analyses.studies import family
from coupling.analyses.studies.family import FamilyProgress, make_family
from coupling.analyses.studies.family_members import MEMBER, members
from coupling.analyses.studies.family_results import collect
from coupling.errors import CouplingError

RECORD = {"scores": {"bits per byte": 1.25, "exact match": 0.5}, "seconds": {"train": 7.0}}


def test_the_progress_tells_the_time_left_from_what_is_new(tmp_path, capsys, monkeypatch):
    three = members()[:3]
    (tmp_path / three[0].name).mkdir()
    (tmp_path / three[0].name / MEMBER).write_text("{}")
    now = iter([100.0, 160.0, 190.0])
    monkeypatch.setattr(family, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    progress = FamilyProgress(three, tmp_path)
    for member in three:
        progress.report(member, RECORD)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"[ 1/3] {three[0].name:<13} 1.250 bits per byte, exact match 50.0%, 7 s"
    minutes = 60 / three[1].cost * three[2].cost / 60
    assert lines[1].endswith(f"7 s; about {minutes:.0f} min left")
    assert lines[2].endswith("about 0 min left")


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (None, None, ""),
        (CouplingError("no space left"), 1, "error: no space left\n"),
        (KeyboardInterrupt(), 130, "interrupted; finished members are kept, continue with the same command\n"),
        (BrokenProcessPool(), 130, "interrupted; finished members are kept, continue with the same command\n"),
    ],
)
def test_the_command(tmp_path, capsys, monkeypatch, failure, code, message):
    made = []

    def make(members, *arguments):
        made.extend([[member.steps for member in members], *arguments])
        if failure is not None:
            raise failure

    monkeypatch.setattr(family, "make_family", make)
    monkeypatch.setattr(family, "collect", lambda names, out: made.append(len(names)))
    monkeypatch.setattr(sys, "argv", ["family", "--out", str(tmp_path), "--workers", "3", "--step-share", "0.01"])
    with nullcontext() if code is None else pytest.raises(SystemExit) as exit_:
        family.main()
    assert made[:4] == [[member.steps for member in members(0.01)], tmp_path, 3, "cpu"]
    assert made[4:] == ([36] if failure is None else [])
    assert capsys.readouterr().err == message
    assert code is None or exit_.value.code == code


@pytest.mark.slow
def test_a_family_in_miniature_is_made_resumed_and_the_same_again(tmp_path, capsys):
    some = [member for member in members(0.02) if member.shape == "L2-d48" or member.name == "L4-d32-s6-all"]
    names = [member.name for member in some]
    make_family(some[:2], tmp_path / "a", workers=2)
    kept = {name: (tmp_path / "a" / name / MEMBER).stat().st_mtime_ns for name in names[:2]}
    assert "min left" in capsys.readouterr().err
    with pytest.raises(CouplingError, match="contains no finished member"):
        collect(names, tmp_path / "a")
    make_family(some, tmp_path / "a", workers=2)
    for name, time in kept.items():
        assert (tmp_path / "a" / name / MEMBER).stat().st_mtime_ns == time
    result = collect(names, tmp_path / "a")
    assert {one["benchmark"] for one in result["results"]} <= set(BENCHMARKS)
    assert family_table(tmp_path / "a" / TABLE).frame.shape[0] == len(some)
    make_family(some[:1], tmp_path / "b", workers=1)
    weights = [(tmp_path / run / names[0] / "model/model.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]
    scores = [json.loads((tmp_path / run / names[0] / MEMBER).read_text())["scores"] for run in "ab"]
    assert scores[0] == scores[1]
