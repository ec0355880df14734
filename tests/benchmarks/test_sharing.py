"""``python -m benchmarks.sharing``: processes start together, and each variant is reported."""

import json
import os
import sys

import pytest

from benchmarks import sharing

SMALL = "--layers 2 --hidden 32 --heads 2 --tokens 8 --prompts 1"


@pytest.mark.slow
def test_the_command_prints_json(capsys, monkeypatch, tmp_path):
    out = tmp_path / "figures.json"
    monkeypatch.setattr(sharing, "COPIES", (1,))
    monkeypatch.setattr(
        sys, "argv", ["benchmarks.sharing", *SMALL.split(), "--turns", "1", "--json", "--out", str(out)]
    )
    sharing.main()
    rows = json.loads(capsys.readouterr().out)
    assert [(row["spin"], row["copies"]) for row in rows] == [(None, 1), (str(sharing.SPIN_COUNT), 1)]
    assert all(row["slowest"] >= row["seconds"] > 0 for row in rows)
    figures = json.loads(out.read_text())
    assert figures["rows"] == rows
    assert (figures["layers"], figures["tokens"]) == (2, 8)
    assert len(figures["load_before"]) == 3


def test_the_variant_reaches_the_processes(monkeypatch):
    given = []

    class Process:
        def __init__(self, command, env, **_):
            given.append(env)
            self.stdin = self.stdout = open(os.devnull, "r+")  # noqa: SIM115

        def communicate(self):
            return '{"seconds": 1, "cpu": 2}', ""

    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setattr(sharing.subprocess, "Popen", Process)
    assert sharing.at_once(2, "1000", []) == [{"seconds": 1, "cpu": 2}] * 2
    assert sharing.at_once(1, None, []) == [{"seconds": 1, "cpu": 2}]
    assert [env.get("GOMP_SPINCOUNT") for env in given] == ["1000", "1000", None]
    assert not any("OMP_WAIT_POLICY" in env for env in given)
