"""The benchmark on Python source: its items, its answers, and models that are scored on it."""

import re
from importlib.resources import files

import numpy as np
import torch
import transformers

from coupling.analyses.studies.code_benchmark import TASKS, Item, make_items, score_items
from coupling.analyses.studies.corpus import Module, standard_library

BUNDLED = files("coupling") / "data/checkpoint"
SOURCE = """
def first(values, index):
    if index is None:
        return values[0]
    raise ValueError(index)


table = {one: two}
"""


def test_items_are_positions_in_the_source():
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


def test_items_are_the_same_every_time_and_from_held_out_modules():
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
