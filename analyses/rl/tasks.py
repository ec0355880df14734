"""Verifiable tasks that need no download: integer addition and closing brackets, with exact-match rewards."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from coupling.analyses.rl.numbers import last_number
from coupling.errors import CouplingError
from coupling.untrusted import quoted

CHARACTERS = "0123456789+=()[]{}<>"
END, PAD, UNKNOWN = "<end>", "<pad>", "<unknown>"
OPENING, CLOSING = "([{<", ")]}>"

Completion = str | Sequence[dict[str, Any]]
"""A text, or in conversations the messages that the model added."""


@dataclass(frozen=True)
class Example:
    """A prompt and the only completion that is right."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Task:
    """A task, and how its examples are drawn.

    Attributes:
        name: its name in configurations.
        draw: draws one example with a generator of random numbers.
        longest: the largest number of characters that a prompt and its answer have together.
        warm_steps: optimization steps of the supervised start.
        warm_noise: the share of wrong answers in the supervised start. A task that is learned within a few steps then
            begins RL with a reward well below one, like a model that has seen both right and wrong answers.
    """

    name: str
    draw: Callable[[random.Random], Example]
    longest: int
    warm_steps: int
    warm_noise: float

    def examples(self, count: int, seed: int) -> list[Example]:
        """``count`` independent examples, which may repeat; the same for the same seed."""
        generator = random.Random(f"{self.name} {seed}")  # a seed that is a text is hashed alike on every machine
        return [self.draw(generator) for _ in range(count)]


def _addition(generator: random.Random) -> Example:
    """The sum of two numbers of one or two digits: ``47+85=`` and ``132``."""
    a, b = generator.randrange(100), generator.randrange(100)
    return Example(f"{a}+{b}=", str(a + b))


def _brackets(generator: random.Random) -> Example:
    """Opening brackets, some of them closed again: ``([]{=`` and ``})``."""
    depth, text = generator.randint(1, 5), ""
    opened: list[int] = []
    while len(opened) < depth:
        if opened and len(text) < 6 and generator.random() < 0.3:
            text += CLOSING[opened.pop()]
        else:
            opened.append(generator.randrange(len(OPENING)))
            text += OPENING[opened[-1]]
    return Example(text + "=", "".join(CLOSING[kind] for kind in reversed(opened)))


TASKS = {
    "addition": Task("addition", _addition, longest=9, warm_steps=650, warm_noise=0.0),
    "brackets": Task("brackets", _brackets, longest=20, warm_steps=150, warm_noise=0.4),
}


def task(name: str) -> Task:
    """A built-in task by name.

    Raises:
        CouplingError: if there is no such task; the message names those that exist.

    Example:
        >>> task("addition").examples(1, seed=0)
        [Example(prompt='41+2=', answer='43')]
    """
    if name not in TASKS:
        raise CouplingError(f"there is no task {quoted(name)}; the built-in tasks are {', '.join(TASKS)}")
    return TASKS[name]


def character_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per character of ``CHARACTERS``, and tokens for the end, padding and anything else."""
    tokens = [PAD, END, UNKNOWN, *CHARACTERS]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=64,
        clean_up_tokenization_spaces=False,
    )


def text_of(completion: Completion) -> str:
    """The text that the model wrote, from a completion in either of TRL's formats.

    Example:
        >>> text_of([{"role": "assistant", "content": "12"}])
        '12'
    """
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def exact(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where a completion is the answer and nothing else, apart from white space at the ends; 0 elsewhere.

    Args:
        completions: one per prompt, in either of TRL's formats.
        answer: the right text for each prompt, from the data's column ``answer``.

    Example:
        >>> exact(["12", "112"], ["12", "12"])
        [1.0, 0.0]
    """
    return [float(text_of(text).strip() == str(right).strip()) for text, right in zip(completions, answer, strict=True)]


def number(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the last number of a completion equals the last number of the answer (as in GSM8K); 0 elsewhere.

    ``coupling.analyses.rl.numbers.last_number`` says what is read as a number.

    Args:
        completions: one per prompt, in either of TRL's formats.
        answer: a text that ends in the right number, such as ``... #### 1,200``.

    Example:
        >>> number(["so 7 and 1200.", "I do not know"], ["#### 1,200", "#### 1,200"])
        [1.0, 0.0]
    """
    rewards = []
    for text, right in zip(completions, answer, strict=True):
        right_number = last_number(str(right))
        rewards.append(float(right_number is not None and last_number(text_of(text)) == right_number))
    return rewards


REWARDS: dict[str, Callable[..., list[float]]] = {"exact": exact, "number": number}
"""The built-in rewards by name."""
