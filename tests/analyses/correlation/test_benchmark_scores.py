"""Benchmark scores from a CSV, the bundled leaderboard and the hub; a bad file is an error of one line."""

import sys
from importlib.resources import files

import numpy as np
import pytest

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.errors import CouplingError


def write(path, text) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_csv(tmp_path):
    text = "\ufeffModel, MMLU ,family,params_b,license\na/b,50.5,F,7,MIT\nc,,G,0.5,MIT\n"
    scores = read_scores(write(tmp_path / "s.csv", text))
    assert scores.benchmarks.index.to_list() == ["a/b", "c"]
    assert scores.benchmarks["MMLU"].iloc[0] == 50.5
    assert np.isnan(scores.benchmarks["MMLU"].iloc[1])
    assert scores.sizes["parameters"].to_list() == [7e9, 0.5e9]
    assert scores.families == {"a/b": "F", "c": "G"}
    assert scores.notes == [f"column license of {tmp_path / 's.csv'} contains no number, and is left out"]


def test_the_bundled_leaderboard():
    scores = read_scores("leaderboard")
    assert scores.benchmarks.shape == (148, 7)
    assert scores.benchmarks["average"].isna().sum() == 3
    assert scores.families["openai-community/gpt2"]
    assert list(scores.sizes) == ["parameters"]


def test_the_bundled_tables_state_their_source():
    text = (files("coupling") / "data/README.md").read_text()
    for table in (files("coupling") / "data").iterdir():
        assert table.suffix != ".csv" or f"`{table.name}`" in text
    for source in ("2407.07810", "Apache-2.0", "coupling.analyses.studies.family"):
        assert source in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,mmlu\na,1\n", "no column named model .*its columns are name, mmlu"),
        ("model,mmlu\na,1\nb,high\n", "the mmlu of b is 'high', which is not a finite number"),
        ("model,mmlu\na,inf\nb,2\n", "the mmlu of a is 'inf'"),
        ("model,mmlu\na,1\na,2\n", "has the model a in the rows 1, 2"),
        ("model,mmlu\na,1\n,2\n", "row 2 of .* names no model"),
        ("model,family\na,F\n", "has no benchmark"),
        ("model,params_b\na,7\n", "has no benchmark"),
        ("", "cannot be read as CSV"),
        ('model,mmlu\n"a,1\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_csv(tmp_path, text, message):
    with pytest.raises(CouplingError, match=message):
        read_scores(write(tmp_path / "s.csv", text))


def test_a_csv_that_is_not_text(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"model,\xff\xfe\n")
    with pytest.raises(CouplingError, match="cannot be read as CSV"):
        read_scores(str(tmp_path / "s.csv"))


def test_sources_that_do_not_exist():
    with pytest.raises(CouplingError, match=r"cannot read the scores nowhere\.csv: No such file"):
        read_scores("nowhere.csv")
    with pytest.raises(CouplingError, match=r"there are no scores in \./nowhere; give a CSV file"):
        read_scores("./nowhere")
    with pytest.raises(CouplingError, match="nobody/nothing is not a file here, and not a data set that can be loaded"):
        read_scores("nobody/nothing")


def test_a_data_set_of_the_hub(monkeypatch):
    """The first split's columns, read as a CSV's are; the download itself needs a network."""
    import datasets

    rows = datasets.Dataset.from_dict({"fullname": ["a/b", "c/d"], "MMLU": [50.5, None], "notes": ["x", "y"]})
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name: asked.append(name) or {"train": rows})
    scores = read_scores("someone/leaderboard")
    assert asked == ["someone/leaderboard"]
    assert scores.benchmarks.index.to_list() == ["a/b", "c/d"]
    assert scores.benchmarks["MMLU"].isna().to_list() == [False, True]


def test_what_spreadsheets_leave_in_a_table(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(",model,acc\n0,a,45.5%\n1,b,46%\n2,c,47\n")
    scores = read_scores(str(path))
    assert scores.benchmarks.columns.to_list() == ["acc"]
    assert scores.benchmarks["acc"].to_list() == [45.5, 46, 47]


def test_a_hub_data_set_without_the_datasets_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CouplingError, match=r"some/thing is not a file here, and .* pip install .*\[datasets\]"):
        read_scores("some/thing")
