"""Benchmark scores from everywhere: CSV, lm-evaluation-harness, the bundled leaderboard; bad files in one line."""

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.errors import CouplingError

FIXTURES = Path(__file__).parents[2] / "fixtures"


def write(path, text) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_csv(tmp_path):
    scores = read_scores(write(tmp_path / "s.csv", "\ufeffModel, MMLU ,family,params_b,license\n"
                               "a/b,50.5,F,7,MIT\nc,,G,0.5,MIT\n"))  # fmt: skip
    assert scores.benchmarks.index.to_list() == ["a/b", "c"]
    assert scores.benchmarks["MMLU"].iloc[0] == 50.5
    assert np.isnan(scores.benchmarks["MMLU"].iloc[1])
    assert scores.sizes["parameters"].to_list() == [7e9, 0.5e9]
    assert scores.families == {"a/b": "F", "c": "G"}
    assert scores.notes == [f"column license of {tmp_path / 's.csv'} holds no number, and is left out"]


def test_the_bundled_leaderboard():
    scores = read_scores("leaderboard")
    assert scores.benchmarks.shape == (148, 7)
    assert scores.benchmarks["average"].isna().sum() == 3
    assert scores.families["openai-community/gpt2"]
    assert list(scores.sizes) == ["parameters"]


def test_the_bundled_tables_state_their_source():
    text = (files("coupling") / "data/README.md").read_text()
    for name in ("paper_figure1a.csv", "open_llm_leaderboard_v1_base.csv", "2407.07810", "Apache-2.0"):
        assert name in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,mmlu\na,1\n", "no column named model .*its columns are name, mmlu"),
        ("model,mmlu\na,1\nb,high\n", "the mmlu of b is 'high', which is no finite number"),
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


def test_a_csv_that_is_no_text(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"model,\xff\xfe\n")
    with pytest.raises(CouplingError, match="cannot be read as CSV"):
        read_scores(str(tmp_path / "s.csv"))


def test_what_is_not_there():
    with pytest.raises(CouplingError, match=r"cannot read the scores nowhere\.csv: No such file"):
        read_scores("nowhere.csv")
    with pytest.raises(CouplingError, match=r"there are no scores in \./nowhere; give a CSV file"):
        read_scores("./nowhere")
    with pytest.raises(CouplingError, match="nobody/nothing is no file here, and no data set that can be loaded"):
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


def test_a_results_file_of_the_harness():
    """Made by lm-eval 0.4.13 from the bundled checkpoint and the task beside it; its report of the machine is cut."""
    (file,) = (FIXTURES / "harness").rglob("*.json")
    for source in (file, FIXTURES / "harness"):
        scores = read_scores(str(source))
        assert scores.benchmarks.to_dict() == {"close_bracket exact_match (first)": {"block-coupling-8L": 5 / 6}}
        assert scores.notes == []


def results(model, date=1.0, groups=None, **tasks):
    return json.dumps({"results": tasks, "model_name": model, "date": date, "group_subtasks": groups or {}})


def test_a_folder_of_results(tmp_path):
    (tmp_path / "a").mkdir()
    mmlu = {"acc,none": 0.5, "acc_stderr,none": 0.01, "alias": "mmlu", "sample_len": 3}
    law = {"acc,none": 0.1, "alias": " - law"}
    write(tmp_path / "a" / "old.json", results("org/a", 1.0, arc={"acc_norm,none": 0.25}, gsm={"em,strict": 0.1}))
    write(tmp_path / "a" / "new.json", results("org/a", 2.0, arc={"acc_norm,none": 0.35}))
    write(tmp_path / "b.json", results("org/b", 1.0, {"mmlu": ["law"]}, mmlu=mmlu, law=law, x={"acc,none": "N/A"}))
    write(tmp_path / "settings.json", "{}")
    scores = read_scores(str(tmp_path))
    assert scores.benchmarks.index.to_list() == ["org/a", "org/b"]
    assert sorted(scores.benchmarks) == ["arc acc_norm", "gsm em (strict)", "mmlu acc"]  # law is inside mmlu
    assert scores.benchmarks.loc["org/a", "arc acc_norm"] == 0.35
    assert scores.benchmarks.loc["org/b", "mmlu acc"] == 0.5
    assert any("settings.json is no lm-evaluation-harness" in note for note in scores.notes)
    assert any("new.json, the newest of several" in note for note in scores.notes)


def test_a_group_without_a_score_of_its_own_keeps_its_tasks(tmp_path):
    path = write(tmp_path / "r.json", results("a", 1.0, {"g": ["t"]}, g={"alias": "g"}, t={"acc,none": 0.5}))
    assert list(read_scores(path).benchmarks) == ["t acc"]


def test_older_results_name_the_model_in_its_arguments(tmp_path):
    content = {"results": {"arc": {"acc,none": 0.5}}, "config": {"model_args": "pretrained=org/a,dtype=float32"}}
    assert read_scores(write(tmp_path / "r.json", json.dumps(content))).benchmarks.index.to_list() == ["org/a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "needs the keys results and model_name"), ("[1]", "needs the keys"), ("{", "cannot be read as JSON"),
     (results("a"), "without a single score")],
)  # fmt: skip
def test_a_bad_results_file(tmp_path, text, message):
    with pytest.raises(CouplingError, match=message):
        read_scores(write(tmp_path / "r.json", text))


def test_an_empty_folder(tmp_path):
    with pytest.raises(CouplingError, match=r"holds no lm-evaluation-harness results"):
        read_scores(str(tmp_path))


@pytest.mark.slow
def test_the_current_harness_run_on_the_bundled_checkpoint(tmp_path):
    """The real program, the real file that it writes; the fixture came about in this way."""
    for file in (FIXTURES / "harness_task").iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "block-coupling-8L").symlink_to(files("coupling") / "data/checkpoint")
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
        "pretrained=block-coupling-8L,dtype=float32", "--tasks", "close_bracket", "--include_path", ".",
        "--output_path", "out", "--batch_size", "1", "--device", "cpu",
    ]  # fmt: skip
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = read_scores(str(tmp_path / "out"))
    fixture = read_scores(str(FIXTURES / "harness"))
    assert scores.benchmarks.to_dict() == fixture.benchmarks.to_dict()


def test_what_spreadsheets_leave_in_a_table(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(",model,acc\n0,a,45.5%\n1,b,46%\n2,c,47\n")
    scores = read_scores(str(path))
    assert scores.benchmarks.columns.to_list() == ["acc"]
    assert scores.benchmarks["acc"].to_list() == [45.5, 46, 47]


def test_a_harness_date_that_is_no_number_and_a_score_that_is_none(tmp_path):
    content = {
        "model_name": "a",
        "date": "2026-11-22",
        "results": {"arc": {"acc,none": float("nan")}, "x": {"acc,none": 0.5}},
    }
    (tmp_path / "r.json").write_text(json.dumps(content))
    scores = read_scores(str(tmp_path / "r.json"))
    assert not any("newest" in note for note in scores.notes)
    assert 0.5 in scores.benchmarks.loc["a"].to_list()
