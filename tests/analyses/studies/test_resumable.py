"""What studies with one file per run have in common: what counts as a result, and what a command does."""

import json
import sys
from dataclasses import dataclass

import pytest

from coupling.analyses.studies import resumable
from coupling.analyses.studies.resumable import missing, read_result, rounded, run_all, write_result
from coupling.errors import CouplingError
from coupling.locking import locked


@dataclass(frozen=True)
class Plan:
    seed: int

    @property
    def file(self) -> str:
        return f"{self.seed}.json"

    @property
    def design(self) -> str:
        return resumable.design_hash({"seed": self.seed})


PLANS = [Plan(seed) for seed in range(3)]


def make(plan, out):
    return write_result(plan, out, {"ended": "finished", "seconds": 1.0})


def command(monkeypatch, out, *options, run=make):
    monkeypatch.setattr(sys, "argv", ["study", "--out", str(out), *options])

    def said(folder):
        return f"{len(PLANS) - len(missing(PLANS, folder))} are there"

    resumable.command("a.module", "What it does.", PLANS, run, said, out)


def test_a_result_names_its_versions_and_is_read_again(tmp_path):
    result = make(PLANS[0], tmp_path)
    assert read_result(PLANS[0], tmp_path) == result
    assert {"torch", "trl", "block-coupling"} <= set(result["environment"])


@pytest.mark.parametrize("content", ["", "[]", "{", '{"design": "another"}'])
def test_a_result_that_is_damaged_or_of_another_design_does_not_count(content, tmp_path):
    (tmp_path / PLANS[0].file).write_text(content)
    assert read_result(PLANS[0], tmp_path) is None
    assert missing(PLANS, tmp_path) == PLANS


def test_a_result_that_is_not_finished_is_still_missing(tmp_path):
    make(PLANS[0], tmp_path)
    write_result(PLANS[1], tmp_path, {"ended": "at update 4", "seconds": 1.0})
    assert missing(PLANS, tmp_path) == PLANS[2:]
    assert missing(PLANS, tmp_path, lambda result: result["ended"] == "finished") == PLANS[1:]


def test_numbers_have_five_digits():
    assert [rounded(value) for value in (1 / 3, None, float("nan"), 123456)] == [0.33333, None, None, 123460.0]
    assert json.dumps(rounded(0.1)) == "0.1"


def test_the_command_continues_with_what_is_missing(monkeypatch, tmp_path, capsys):
    out = tmp_path / "rows"
    command(monkeypatch, out, "--limit", "2")
    output = capsys.readouterr()
    assert output.out == "2 are there\n"
    assert output.err.splitlines() == ["[1/2] 0: finished, 1 s", "[2/2] 1: finished, 1 s"]
    command(monkeypatch, out, "--summarize")
    assert capsys.readouterr().out == "2 are there\n"
    command(monkeypatch, out)
    output = capsys.readouterr()
    assert (output.out, output.err) == ("3 are there\n", "[1/1] 2: finished, 1 s\n")


def test_two_commands_do_not_write_to_one_folder(monkeypatch, tmp_path, capsys):
    with locked(tmp_path), pytest.raises(SystemExit) as end:
        command(monkeypatch, tmp_path)
    assert end.value.code == 1
    assert "another process is writing" in capsys.readouterr().err


def test_a_failure_is_one_line_and_an_interruption_says_how_to_go_on(monkeypatch, tmp_path, capsys):
    for error, code, message in (
        (CouplingError("no space"), 1, "error: no space"),
        (KeyboardInterrupt(), 130, "interrupted; continue with the same command"),
    ):

        def fail(plan, out, error=error):
            raise error

        with pytest.raises(SystemExit) as end:
            command(monkeypatch, tmp_path, run=fail)
        assert end.value.code == code
        assert capsys.readouterr().err == f"{message}\n"


@pytest.mark.slow
def test_two_workers_make_all_runs(tmp_path):
    run_all(make, PLANS, tmp_path, workers=2)
    assert missing(PLANS, tmp_path) == []
