"""The study's command makes runs and writes the tables beside their folder."""

import sys

from coupling.analyses.studies.lead_time import study


def test_the_command_summarizes_what_is_there(results, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lead_time", "--out", str(results), "--summarize"])
    study.main()
    assert capsys.readouterr().out.startswith("18 of 18 planned runs are finished")
    assert (results.parent / "lead-time.csv").exists()
