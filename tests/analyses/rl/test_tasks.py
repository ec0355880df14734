"""The built-in tasks, their rewards and tokenizer, and the warm start."""

import json

import pytest
from transformers import AutoTokenizer

from coupling import CouplingError
from coupling.analyses.rl.tasks import CLOSING, OPENING, TASKS, character_tokenizer, exact, number, task
from coupling.analyses.rl.warm_start import warm_start

SAID = [{"role": "assistant", "content": "it is 12"}]


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_the_same_for_the_same_seed_and_fit(name):
    first, again, other = (task(name).examples(200, seed) for seed in (3, 3, 4))
    assert first == again != other
    tokenizer = character_tokenizer()
    for example in first:
        text = example.prompt + example.answer
        assert len(text) <= task(name).longest
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_answers_are_right():
    for example in task("addition").examples(200, 0):
        a, b = example.prompt.removesuffix("=").split("+")
        assert int(a) + int(b) == int(example.answer)
    for example in task("brackets").examples(200, 0):
        text, opened = example.prompt.removesuffix("=") + example.answer, []
        for character in text:
            if character in OPENING:
                opened.append(CLOSING[OPENING.index(character)])
            else:
                assert opened.pop() == character
        assert not opened
        assert example.answer


def test_exact_and_number():
    assert exact(["12", " 12\n", "112", "", [{"role": "assistant", "content": "12"}]], ["12"] * 5) == [1, 1, 0, 0, 1]
    right = ["a #### 1,200", "#### 12", "#### 12", "none", "#### -3.5"]
    assert number(["so 7 and 1200.", SAID, "no number", "no number", "-3.50"], right) == [1, 1, 0, 0, 1]
    assert exact(prompts=["x"], completions=["12"], answer=[12], trainer_state=None) == [1]


def test_an_unknown_task():
    with pytest.raises(CouplingError, match="addition, brackets"):
        task("chess")


def test_the_warm_start_is_deterministic_and_kept(tmp_path):
    first, second = (warm_start("brackets", steps=3, cache=tmp_path / name) for name in ("a", "b"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert warm_start("brackets", steps=3, cache=tmp_path / "a") == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before
    assert 3e5 < json.loads((first / "warm_start.json").read_text())["parameters"] < 1e6
    tokenizer = AutoTokenizer.from_pretrained(first)
    assert tokenizer.decode(tokenizer.encode("12+3=")) == "12+3="
    assert tokenizer.padding_side == "left"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_warm_start_leaves_a_reward_between_flat_and_done(name):
    assert 0.08 < json.loads((warm_start(name) / "warm_start.json").read_text())["reward"] < 0.5
