"""Results of lm-evaluation-harness: files, folders, groups, older versions, and files that are something else."""

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from coupling.analyses.correlation.benchmark_scores import read_scores
from coupling.errors import CouplingError

FIXTURES = Path(__file__).parents[2] / "fixtures"


def write(path, text) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_results_file_of_the_harness():
    """Made by lm-eval 0.4.13 from the bundled checkpoint and the task beside it; its report on the machine was cut."""
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
    assert any("settings.json is not an lm-evaluation-harness" in note for note in scores.notes)
    assert any("new.json, the newest of several files" in note for note in scores.notes)


def test_a_group_without_a_score_of_its_own_keeps_its_tasks(tmp_path):
    path = write(tmp_path / "r.json", results("a", 1.0, {"g": ["t"]}, g={"alias": "g"}, t={"acc,none": 0.5}))
    assert list(read_scores(path).benchmarks) == ["t acc"]


def test_older_results_name_the_model_in_its_arguments(tmp_path):
    content = {"results": {"arc": {"acc,none": 0.5}}, "config": {"model_args": "pretrained=org/a,dtype=float32"}}
    assert read_scores(write(tmp_path / "r.json", json.dumps(content))).benchmarks.index.to_list() == ["org/a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "needs the keys results and model_name"),
        ("[1]", "needs the keys"),
        ("{", "cannot be read as JSON"),
        (results("a"), "without a single score"),
    ],
)
def test_a_bad_results_file(tmp_path, text, message):
    with pytest.raises(CouplingError, match=message):
        read_scores(write(tmp_path / "r.json", text))


def test_an_empty_folder(tmp_path):
    with pytest.raises(CouplingError, match=r"contains no lm-evaluation-harness results"):
        read_scores(str(tmp_path))


@pytest.mark.slow
def test_the_current_harness_run_on_the_bundled_checkpoint(tmp_path):
    """The real program and the real file that it writes; the fixture was made in this way."""
    for file in (FIXTURES / "harness_task").iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "block-coupling-8L").symlink_to(files("coupling") / "data/checkpoint")
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", "close_bracket", "--include_path", "."),
        *("--model_args", "pretrained=block-coupling-8L,dtype=float32", "--output_path", "out"),
        *("--batch_size", "1", "--device", "cpu"),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = read_scores(str(tmp_path / "out"))
    fixture = read_scores(str(FIXTURES / "harness"))
    assert scores.benchmarks.to_dict() == fixture.benchmarks.to_dict()


def test_a_date_that_is_not_a_number_and_a_score_that_is_nan(tmp_path):
    content = {
        "model_name": "a",
        "date": "2026-11-22",
        "results": {"arc": {"acc,none": float("nan")}, "x": {"acc,none": 0.5}},
    }
    (tmp_path / "r.json").write_text(json.dumps(content))
    scores = read_scores(str(tmp_path / "r.json"))
    assert not any("newest" in note for note in scores.notes)
    assert 0.5 in scores.benchmarks.loc["a"].to_list()
