"""The study's command: it makes what is missing, in order, and says how much there is."""

import sys

import pytest

from coupling.analyses.studies.off_policy import study
from coupling.analyses.studies.off_policy.design import planned
from coupling.errors import CouplingError
from coupling.locking import locked


def command(monkeypatch, out, *options):
    monkeypatch.setattr(sys, "argv", ["off_policy", "--out", str(out), "--workers", "1", *options])
    study.main()


def test_the_command_continues_with_what_is_missing(made, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows"
    command(monkeypatch, out, "--limit", "2")
    output = capsys.readouterr()
    assert output.out.startswith("2 of 100 planned runs are finished")
    assert "[2/2] t-1.2-as-1-p3o-micro-seed-100: finished" in output.err
    command(monkeypatch, out, "--limit", "1")
    assert len(made) == 3
    assert len(study.missing(planned(), out)) == 97
    command(monkeypatch, out, "--summarize")
    assert len(made) == 3
    assert "3 of 100" in capsys.readouterr().out


def test_two_commands_do_not_write_to_one_folder(made, tmp_path, monkeypatch, capsys):
    with locked(tmp_path), pytest.raises(SystemExit) as end:
        command(monkeypatch, tmp_path, "--limit", "1")
    assert end.value.code == 1
    assert "another process is writing" in capsys.readouterr().err
    assert not made


def test_a_failure_is_one_line_and_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    for error, code, message in (
        (CouplingError("no space"), 1, "error: no space"),
        (KeyboardInterrupt(), 130, "interrupted; continue with the same command"),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(study, "run", fail)
        with pytest.raises(SystemExit) as end:
            command(monkeypatch, tmp_path, "--limit", "1")
        assert end.value.code == code
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_make_real_runs(tmp_path):
    plans = planned(steps=2)[:2]
    study.run_all(study.run, plans, tmp_path, workers=2)
    assert study.missing(plans, tmp_path) == []
