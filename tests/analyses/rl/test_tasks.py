"""The built-in tasks, their rewards and tokenizer."""

import pytest

from coupling import CouplingError
from coupling.analyses.rl.tasks import CLOSING, OPENING, TASKS, character_tokenizer, exact, number, task, text_of

MESSAGES = [{"role": "assistant", "content": "it is 12"}]


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
    completions = ["so 7 and 1200.", MESSAGES, "no number", "no number", "-3.50"]
    assert number(completions, right) == [1, 1, 0, 0, 1]
    assert exact(prompts=["x"], completions=["12"], answer=[12], trainer_state=None) == [1]


def test_the_text_of_a_conversation_is_that_of_its_messages():
    assert text_of(MESSAGES) == "it is 12"
    assert text_of([*MESSAGES, {"role": "assistant", "content": None}]) == "it is 12"


def test_an_unknown_task():
    with pytest.raises(CouplingError, match="addition, brackets"):
        task("chess")
