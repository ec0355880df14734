"""Studies: what they accept, and the line that a wrong value's message names."""

import inspect

import pytest

import coupling
from coupling.analyses.sweep.study import INPUT_KEYS, KEYS, read_study, study_from_mapping
from coupling.errors import CouplingError
from tests.vision import save_picture

WHOLE = """
models:
  - EleutherAI/pythia-160m
  - model: allenai/OLMo-1B-hf
    revisions: [step1000-tokens4B]
  - trained/checkpoint-*
revisions: step*
prompts: [a text, another]
limit: 1
k: [10, 5, 5]
kind: self
block_pairs: [[0, 1]]
tokens: [0, -1]
engine: dense
tol: 1e-3
dtype: float64
chat: false
"""


def test_a_whole_study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(WHOLE)
    study = read_study(path)
    assert [(entry.model, entry.revisions) for entry in study.entries] == [
        ("EleutherAI/pythia-160m", ("step*",)),
        ("allenai/OLMo-1B-hf", ("step1000-tokens4B",)),
        ("trained/checkpoint-*", ("step*",)),
    ]
    assert study.prompts().texts == ["a text"]
    assert study.settings == {
        "k": (5, 10), "kind": "self", "block_pairs": ((0, 1),), "tokens": (0, -1), "engine": "dense", "tol": 1e-3,
        "dtype": "float64", "chat": False,
    }  # fmt: skip


def test_the_keys_are_the_arguments_of_analyze():
    own = {"model", "revision", "out", "overwrite", "resume", "progress", "token", "blocks", "stream",
           "batch_size", "memory_budget"}  # fmt: skip
    arguments = set(inspect.signature(coupling.analyze).parameters)
    assert set(KEYS) == (arguments - own) | set(INPUT_KEYS) | {"models", "revisions"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("models: a\nmodel: b", 2, "there is no key model (did you mean models?)"),
        ("models: a\nimages: photos\nprompts: x", 3, "images and prompts exclude each other"),
        ("models: a\nimages: photos\nchat: true", 3, "images and chat exclude each other"),
        ("models: a\nimages: [1]", 2, "images is [1], but must be the name of a file, a folder"),
        ("models: a\nimages: []", 2, "images is [], but must be the name"),
        ("models: a\nk: 3\npatch: 5", 3, "patch is 5, but must be a row and a column such as [3, 4]"),
        ("models: a\npatch: [1, 2, 3]", 2, "must be a row and a column"),
        ("models: a\npatch: [[1, x]]", 2, "must be a row and a column"),
        ("models: a\npatch: []", 2, "must be a row and a column"),
        ("models: a\npatch: [0, 0]\ntokens: 0", 3, "patch and tokens exclude each other"),
        ("models: a\nk: ten", 2, "K is 'ten', but must be a whole number, or a share of the width"),
        ("models: a\nk: 2.5", 2, "k is 2.5, but must be a whole number, a share"),
        ("models: a\npreset: nature", 2, "preset is 'nature', but must be one of paper"),
        ("models: a\npreset: paper\nk: 5", 3, "preset and k exclude each other"),
        ("models: a\n\nk: 0", 3, "K is 0, but must be at least 1"),
        ("models: a\nkind: sideways", 2, "kind is 'sideways', but must be one of depth"),
        ("models: a\nengine: ray", 2, "option of coupling sweep"),
        ("block_pairs: [[0, 1]]\nmodels: a", 1, "applies to kind self"),
        ("block_pairs: [0, 1]\nmodels: a", 1, "pairs such as [[2, 5]]"),
        ("models: a\ntol: soon", 2, "tol is 'soon', but must be a number"),
        ("models: a\ntol: -1.0", 2, "must be above 0"),
        ("models: a\nchat: maybe", 2, "chat is 'maybe', but must be true or false"),
        ("models: a\ndtype: int8", 2, "must be one of auto, float32"),
        ("models: a\nlimit: 0", 2, "limit is 0"),
        ("models: a\nprompts: [1]", 2, "a text, a file or a list of texts"),
        ("models: a\nprompts: x\ndataset: y", 3, "exclude each other"),
        ("models: a\nsplit: test", 2, "split applies to dataset and to images"),
        ("models: a\npart: encoder\nblock_list: layers", 3, "part and block_list exclude each other"),
        ("models:\n- a\n- 3", 3, "a model is 3"),
        ("models:\n- a\n- model: b\n  revision: c", 4, "there is no key revision of a model"),
        ("models:\n- revisions: c", 2, "this model has no key model"),
        ("models: []", 1, "models is empty"),
        ("models: a\nrevisions:\n- step1\n- 1000", 4, "a revision is 1000"),
        ("models: a\nrevisions: []", 2, "revisions is empty"),
        ("k: 5", 1, "there is no key models"),
        ("- a", 1, "a study is a mapping"),
    ],
)
def test_a_wrong_value_names_its_line(tmp_path, text, line, message):
    path = tmp_path / "study.yaml"
    path.write_text(text + "\n")
    with pytest.raises(CouplingError) as caught:
        read_study(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_has_no_lines():
    with pytest.raises(CouplingError, match=r"^the study: K is 'x'"):
        study_from_mapping({"models": "a", "k": "x"})


def test_prompts_of_a_data_set(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "one"}\n{"question": "two"}\n')
    options = {
        "models": "a",
        "dataset": str(tmp_path / "rows.jsonl"),
        "column": "question",
        "split": "train",
        "limit": 1,
    }
    assert study_from_mapping(options).prompts().texts == ["one"]
    assert len(study_from_mapping({"models": "a"}).prompts().texts) == 28


@pytest.mark.parametrize("patch", [[3, 4], [[3, 4], [-1, -1]]])
def test_images_and_patches(tmp_path, patch):
    (tmp_path / "photos").mkdir()
    save_picture(tmp_path / "photos" / "a.png")
    study = study_from_mapping({"models": "a", "images": str(tmp_path / "photos"), "patch": patch, "part": "vision"})
    assert study.settings == {"patch": patch, "part": "vision"}
    assert [item.name for item in study.images().items] == ["a.png"]
    assert study_from_mapping({"models": "a", "images": "photos", "chat": False}).settings == {"chat": False}
    assert study_from_mapping({"models": "a"}).images() is None
