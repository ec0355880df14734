"""The study's command, and two real updates of the real model."""

import sys

import pytest

from coupling.analyses.studies.smollm2_rl import study
from coupling.analyses.studies.smollm2_rl.design import planned
from coupling.analyses.studies.smollm2_rl.runs import run


def test_the_command_summarizes_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["smollm2_rl", "--out", str(tmp_path), "--summarize"])
    study.main()
    assert capsys.readouterr().out == "0 of 96 planned updates are made\n"


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_two_updates_of_the_real_model(index, tmp_path):
    plan = planned(steps=2)[index]
    result = run(plan, tmp_path, tmp_path)
    assert result["ended"] == "finished"
    assert result["columns"]["step"] == [0.0]
    assert result["columns"]["held_out_reward"][0] > 0.05
