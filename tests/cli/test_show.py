"""``coupling show`` on folders that are not runs."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

import coupling
from coupling.cli.render.numbers import percent
from coupling.netcdf import to_bytes
from tests.helpers import refused


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
            assert f"{row['score']:.3f}" in out
            assert f"{percent(row['excess'])} ± {100 * row['excess_se']:.1f}%" in out
    refused(cli("show", *folders, "--sort", "speed"), "--sort is 'speed', but must be a column: run, model")
    refused(cli("show", *folders, "--variants"), "apply to one run", code=2)
    refused(cli("show", folders[0], "-p", "2"), "applies to several runs", code=2)
