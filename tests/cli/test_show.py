"""``coupling show`` on folders that are not runs."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

import coupling
from coupling.cli.render.numbers import figures, percent_with_error
from coupling.netcdf import to_bytes
from tests.helpers import refused
from tests.saved_rl import write_rl_run


def save(run, folder):
    folder.mkdir()
    (folder / "run.nc").write_bytes(to_bytes(run))
    (folder / "run.json").write_text("{}")


def test_runs_that_are_none(cli, tmp_path):
    refused(cli("show", "nowhere"), "there is no folder nowhere")
    (tmp_path / "empty").mkdir()
    refused(cli("show", "empty"), "contains no run")
    refused(cli("diff", "empty", "nowhere"), "contains no run")


def test_several_runs_are_one_table(cli, run, untrained, tmp_path, monkeypatch):
    for name, one in (("trained", run), ("random", untrained)):
        save(one, tmp_path / name)
    folders = [str(tmp_path / "random"), str(tmp_path / "trained")]
    code, out, err = cli("show", *folders, "--sort", "excess", "--csv")
    assert (code, err) == (0, "")
    table = pd.read_csv(io.StringIO(out))
    assert [Path(name).name for name in table["run"]] == ["trained", "random"]
    assert table["score"].tolist() == pytest.approx([coupling.score(run), coupling.score(untrained)])
    code, out, _ = cli("show", *folders, "--json", "--k", "3")
    assert [row["k"] for row in json.loads(out)["runs"]] == ["3", "3"]
    for columns in ("60", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        code, out, _ = cli("show", *folders)
        assert code == 0
        assert "…" not in out
        assert "excess over chance with its standard error" in out
        for row in table.to_dict("records"):
            assert figures(row["score"]) in out
            assert percent_with_error(row["excess"], row["excess_se"]) in out
    refused(cli("show", *folders, "--sort", "speed"), "--sort is 'speed', but must be a column: run, model")
    refused(cli("show", *folders, "--variants"), "apply to one run", code=2)
    refused(cli("show", folders[0], "-p", "2"), "applies to several runs", code=2)


def test_runs_of_reinforcement_learning(cli, tmp_path, run):
    folders = [str(write_rl_run(tmp_path / name)) for name in ("one", "two")]
    code, out, err = cli("show", folders[0])
    assert (code, err) == (0, "")
    assert out.startswith("one p3o on task brackets, a small model, seeds 0, 1, 4 steps, finished")
    assert "12.0%" in out
    assert "on the probe prompts at K = 5, p = 2" in out
    assert len(json.loads(cli("show", folders[0], "--json")[1])["seeds"]) == 2
    code, out, _ = cli("show", *folders)
    assert "8.05% → 12.0%" in out
    assert pd.read_csv(io.StringIO(cli("show", *folders, "--csv")[1]))["steps"].tolist() == [4, 4]
    save(run, tmp_path / "other")
    refused(cli("show", folders[0], str(tmp_path / "other")), "give runs of one sort")
    refused(cli("show", folders[0], "--k", "5"), "do not apply to runs of coupling rl", code=2)
    refused(cli("diff", *folders), "it is a run of coupling rl, which is read by: coupling show")
