"""The project's own benchmark, and the family of small models: made in miniature, and the table that is committed."""

import json
import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
import transformers

from coupling.analyses.correlation.small_models import BENCHMARKS, TABLE, collect, family_table
from coupling.analyses.studies import family
from coupling.analyses.studies.code_benchmark import TASKS, Item, make_items, score_items
from coupling.analyses.studies.corpus import Module, standard_library
from coupling.errors import CouplingError

BUNDLED = files("coupling") / "data/checkpoint"
SOURCE = """
def first(values, index):
    if index is None:
        return values[0]
    raise ValueError(index)


table = {one: two}
"""


def test_items_are_places_of_the_source():
    found = {task: set() for task in TASKS}
    for item in make_items([Module("m.py", SOURCE)]):
        rest = SOURCE[len(item.prompt) :]
        assert SOURCE.startswith(item.prompt)
        assert item.right(rest)
        found[item.task].add((item.prompt.split()[-1], rest[: re.match(r"\s*\w*|", rest).end() or 1]))
    assert found == {
        "bracket": {("index", ")"), ("values[0", "]"), ("ValueError(index", ")"), ("two", "}")},
        "keyword argument": {("is", " None"), ("return", " values"), ("raise", " ValueError"), ("if", " index")},
        "indentation": {("index):", "\n    if"), ("None:", "\n        return")},
    }


def test_right_and_wrong_answers():
    indent = Item("indentation", "if x:", r"\n {4}[^\s]")
    assert indent.right("\n    return")
    assert not any(map(indent.right, ("\n     return", "\n   return", "return", "\n    ", "")))
    name = Item("keyword argument", "raise", r" ValueError(?![A-Za-z0-9_])")
    assert name.right(" ValueError(x)")
    assert not any(map(name.right, (" ValueErrors", "ValueError", " TypeError", "")))


def test_items_are_the_same_every_time_and_of_held_out_modules():
    modules = [module for module in standard_library() if module.held_out]
    items = make_items(modules)
    assert items == make_items(modules)
    counts = {task: sum(item.task == task for item in items) for task in TASKS}
    assert all(count >= 50 for count in counts.values()), counts
    assert {item.prompt for item in items} != {item.prompt for item in make_items(modules, seed=1)}
    texts = [module.text for module in modules]
    assert all(any(text.startswith(item.prompt) for text in texts) for item in items)


def test_a_trained_model_beats_an_untrained_one():
    tokenizer = transformers.AutoTokenizer.from_pretrained(BUNDLED)
    trained = transformers.AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    modules = [module for module in standard_library() if module.held_out]
    items = make_items(modules, per_task=12)
    torch.manual_seed(0)
    untrained = transformers.AutoModelForCausalLM.from_config(trained.config)
    scores = score_items(trained, tokenizer, items)
    assert set(scores) == set(TASKS)
    assert np.mean(list(scores.values())) > 0.3
    assert score_items(trained, tokenizer, items, batch=5) == scores  # padding changes nothing
    assert np.mean(list(score_items(untrained, tokenizer, items).values())) < 0.1


def test_the_design_of_the_family():
    members = family.members()
    assert len(members) >= 16
    assert len({member.name for member in members}) == len(members)
    values = np.array([[m.steps, m.weight_decay, m.data_share] for m in members])
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.15
    for axis in ("layers", "hidden", "steps", "weight_decay", "data_share"):
        assert len({getattr(member, axis) for member in members}) >= 3


@pytest.mark.slow
def test_a_family_in_miniature_is_made_resumed_and_the_same_again(tmp_path, capsys):
    members = [member for member in family.members(0.02) if member.shape == "L2-d64" or member.name == "L4-d32-s6"]
    names = [member.name for member in members]
    family.make_family(members[:2], tmp_path / "a", workers=2)
    kept = {name: (tmp_path / "a" / name / "member.json").stat().st_mtime_ns for name in names[:2]}
    assert "min left" in capsys.readouterr().err
    with pytest.raises(CouplingError, match="holds no finished member"):
        collect(names, tmp_path / "a")
    family.make_family(members, tmp_path / "a", workers=2)
    for name, time in kept.items():
        assert (tmp_path / "a" / name / "member.json").stat().st_mtime_ns == time
    result = collect(names, tmp_path / "a")
    assert {one["benchmark"] for one in result["results"]} <= set(BENCHMARKS)
    assert family_table(tmp_path / "a" / TABLE).frame.shape[0] == len(members)
    family.make_family(members[:1], tmp_path / "b", workers=1)
    weights = [(tmp_path / run / names[0] / "model/model.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]
    scores = [json.loads((tmp_path / run / names[0] / "member.json").read_text())["scores"] for run in "ab"]
    assert scores[0] == scores[1]
    with pytest.raises(CouplingError, match="trained in another way"):
        family.make_member(replace(members[0], weight_decay=9.0), tmp_path / "a")


def test_the_committed_table():
    table = family_table()
    assert len(table.frame) == len(family.members())
    assert set(table.frame.index) == {member.name for member in family.members()}
    assert table.benchmarks == list(BENCHMARKS)
    assert table.primary == "excess K=10 p=2"
    assert table.frame.notna().all().all()
    for member in family.members():
        row = table.frame.loc[member.name]
        assert (row["depth"], row["width"], row["steps"]) == (member.layers, member.hidden, member.steps)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(CouplingError, match=r"cannot read .*none\.csv"):
        family_table(tmp_path / "none.csv")
