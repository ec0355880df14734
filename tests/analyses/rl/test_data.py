"""Rows for the trainer from tasks, files and data sets; the prompts of the probe."""

import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import ProbeConfig, from_mapping
from coupling.analyses.rl.data import TASK_ROWS, probe_texts, read_rows


def rows(**data):
    return read_rows(from_mapping({"data": data, "model": "m"}).data)


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "1+1=", "a": "2", "level": 1}\n{"q": "2+2=", "a": "4", "level": 2}\n')
    return str(path)


def test_data_from_files(jsonl, tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,answer\n1+1=,2\n")
    loaded = rows(file=jsonl, prompt="q", answer="a", limit=1)
    assert loaded[:] == {"prompt": ["1+1="], "answer": ["2"], "level": [1]}
    conversation = rows(file=str(tmp_path / "rows.csv"), chat=True, system="Add.")[0]["prompt"]
    assert [message["role"] for message in conversation] == ["system", "user"]


def test_a_column_that_takes_the_name_of_another(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,question,answer\nunused,1+1=,2\n")
    loaded = rows(file=str(tmp_path / "rows.csv"), prompt="question")
    assert loaded[:] == {"prompt": ["1+1="], "answer": [2]}


def test_data_that_cannot_be_used(jsonl, tmp_path):
    with pytest.raises(CouplingError, match=r"no column 'question'.*data\.prompt.*q, a, level"):
        rows(file=jsonl, prompt="question")
    with pytest.raises(CouplingError, match="which the key file of the data names, does not exist"):
        rows(file=str(tmp_path / "other.csv"))
    with pytest.raises(CouplingError, match=r"must be a \.jsonl, \.csv or \.parquet file"):
        rows(file="rows.txt")
    with pytest.raises(CouplingError, match="cannot load the data set nobody/nothing"):
        rows(dataset="nobody/nothing")
    (tmp_path / "empty.csv").write_text('prompt,answer\n" ",2\n')
    with pytest.raises(CouplingError, match=r"row 0 .* empty prompt"):
        rows(file=str(tmp_path / "empty.csv"))
    (tmp_path / "chat.jsonl").write_text('{"prompt": [{"role": "user", "content": "1+1="}], "answer": "2"}\n')
    with pytest.raises(CouplingError, match=r"already contains messages, so data\.chat does not apply"):
        rows(file=str(tmp_path / "chat.jsonl"), chat=True)


def test_data_from_a_task():
    assert len(rows(task="addition")) == TASK_ROWS
    assert rows(task="addition", limit=3).column_names == ["prompt", "answer"]


def test_the_probe_reads_its_own_prompts_or_the_first_of_the_data(tmp_path):
    data = rows(task="addition", limit=5)
    assert probe_texts(ProbeConfig(count=2), data) == data["prompt"][:2]
    chat = rows(task="addition", limit=5, chat=True, system="Add.")
    assert probe_texts(ProbeConfig(count=2), chat) == data["prompt"][:2]
    assert probe_texts(ProbeConfig(prompts=("a", "b", "c"), count=2), data) == ["a", "b"]
    (tmp_path / "p.txt").write_text("one\ntwo\n")
    assert probe_texts(ProbeConfig(prompts=str(tmp_path / "p.txt")), data) == ["one", "two"]
