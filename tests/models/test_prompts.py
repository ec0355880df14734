"""Prompt sources and their refusals."""

import io
import json
import warnings

import pytest

from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning
from coupling.models.prompts import bundled_prompts, dataset_prompts, read_prompts


def test_the_bundled_set_is_large_and_spread():
    prompts = bundled_prompts()
    assert len(prompts.texts) >= 24
    assert len(set(prompts.texts)) == len(prompts.texts)
    assert prompts.limited(4).texts == prompts.texts[:4]


def test_a_text():
    assert read_prompts("The capital of France is").texts == ["The capital of France is"]
    assert read_prompts("see notes.md").texts == ["see notes.md"]
    assert read_prompts(["one", "two"]).texts == ["one", "two"]


def test_files(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    assert read_prompts(str(tmp_path / "a.txt")).texts == ["one", "two"]
    (tmp_path / "a.txt").write_bytes("\ufeffwürde\r\nzwei\r\n".encode())
    assert read_prompts(str(tmp_path / "a.txt")).texts == ["würde", "zwei"]
    rows = [{"text": "one\ntwo", "n": 1}, {"text": "three", "n": 2}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_prompts(str(tmp_path / "a.jsonl")).texts == ["one\ntwo", "three"]
    (tmp_path / "b.jsonl").write_text('"one"\n"two"\n')
    assert read_prompts(str(tmp_path / "b.jsonl")).texts == ["one", "two"]
    (tmp_path / "a.csv").write_text('question,answer\n"one, or\ntwo",x\nthree,y\n')
    assert read_prompts(str(tmp_path / "a.csv"), column="question").texts == ["one, or\ntwo", "three"]


def test_only_line_feeds_end_a_line(tmp_path):
    row = json.dumps({"text": "one\u2028still one\x85"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(row, encoding="utf-8")
    assert read_prompts(str(tmp_path / "a.jsonl")).texts == ["one\u2028still one\x85"]
    (tmp_path / "a.txt").write_text("one\x0cstill one\ntwo", encoding="utf-8")
    assert read_prompts(str(tmp_path / "a.txt")).texts == ["one\x0cstill one", "two"]


def test_a_file_of_another_kind_is_not_taken_for_a_prompt(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for path in (tmp_path / "a.json", tmp_path):
        with pytest.raises(CouplingError, match="exists, but is not a"):
            read_prompts(str(path))


def test_a_column_of_nothing():
    for source in (None, "a text"):
        with pytest.raises(CouplingError, match="column"):
            read_prompts(source, column="q")


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert read_prompts("-").texts == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", None, "cannot read the prompts file .*No such file"),
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n \n", "is empty"),
        ("a.txt", "grün".encode("latin-1"), r"is not UTF-8 text \(byte 2\)"),
        ("a.txt", "one".encode("utf-16"), "is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2, is not JSON"),
        ("a.jsonl", b'{"text": ""}', "prompt 0 of .* is empty"),
        ("a.jsonl", b'{"a": "x", "b": "y"}', "column of the prompts is not clear .* `column`: a, b"),
        ("a.jsonl", b'{"text": 3}', "row 0 of .* has no text in column 'text'"),
        ("a.jsonl", b"[1]\n", "not objects"),
        ("a.csv", b"a,b\n1,2\n", "column of the prompts is not clear"),
        ("a.csv", b"text\n", "no prompts"),
    ],
)
def test_refusals(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CouplingError, match=message):
        read_prompts(str(tmp_path / name))


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(CouplingError, match="Is a directory"):
        read_prompts(str(tmp_path / "a.txt"))


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_prompt(text):
    with pytest.raises(CouplingError, match="empty"):
        read_prompts(text)


def test_a_missing_column(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": "x"}')
    with pytest.raises(CouplingError, match=r"no column 'b' .*: a"):
        read_prompts(str(tmp_path / "a.jsonl"), column="b")


def test_data_sets(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n{"prompt": "three"}\n')
    assert dataset_prompts(str(tmp_path / "a.jsonl"), limit=2).texts == ["one", "two"]
    with pytest.raises(CouplingError, match="no split 'dev'; it has train"):
        dataset_prompts(str(tmp_path / "a.jsonl"), split="dev")
    with pytest.raises(CouplingError, match="cannot load the data set nobody/nothing"):
        dataset_prompts("nobody/nothing")


@pytest.mark.parametrize("text", ["notes.doc", "data/prompts", "C:\\prompts\\a", "prompts.json"])
def test_a_text_that_looks_like_a_file_is_measured_with_a_warning(text):
    with pytest.warns(PromptWarning, match="looks like the name of a file"):
        assert read_prompts(text).texts == [text]


@pytest.mark.parametrize("text", ["The capital of France is", "import os.path", "e.g.", "Why? Because 3/4 is less."])
def test_other_texts_are_measured_without_a_warning(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_prompts(text).texts == [text]


def test_categories(tmp_path):
    lines = ['{"text": "a", "category": "x"}', '{"text": "b", "category": 2}']
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(lines))
    prompts = read_prompts(str(file))
    assert prompts.categories == ["x", "2"]
    assert prompts.limited(1).categories == ["x"]
    file.write_text('{"text": "a"}\n{"text": "b"}')
    assert read_prompts(str(file)).categories is None
    file.write_text(f'{lines[0]}\n{{"text": "b"}}')
    with pytest.raises(CouplingError, match=r"row 1 of .* has no text in column 'category', and other rows have one"):
        read_prompts(str(file))


def test_a_column_of_prompts_that_is_called_category(tmp_path):
    file = tmp_path / "prompts.csv"
    file.write_text("category,other\na,1\n")
    prompts = read_prompts(str(file), column="category")
    assert (prompts.texts, prompts.categories) == (["a"], None)
