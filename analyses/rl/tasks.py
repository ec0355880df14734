"""Verifiable tasks that need no download: integer addition and closing brackets, with exact-match rewards."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from coupling.errors import CouplingError

CHARACTERS = "0123456789+=()[]{}<>"
END, PAD, UNKNOWN = "<end>", "<pad>", "<unknown>"
OPENING, CLOSING = "([{<", ")]}>"
NUMBER = re.compile(r"(?<!\d)-?\d[\d,]*(?:\.\d+)?|\d[\d,]*(?:\.\d+)?")

Completion = str | Sequence[dict[str, Any]]
"""A text, or in conversations the messages that the model added."""


@dataclass(frozen=True)
class Example:
    """A prompt and the one completion that is right."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Task:
    """How a task's examples are drawn.

    Attributes:
        name: as it is asked for.
        draw: one example from a generator of random numbers.
        longest: the most characters that a prompt and its answer have together.
        warm_steps: optimization steps of the supervised start.
        warm_noise: share of wrong answers in it; so a task that is soon learned starts well below a reward of one, as
            a model does that has seen right and wrong answers.
    """

    name: str
    draw: Callable[[random.Random], Example]
    longest: int
    warm_steps: int
    warm_noise: float

    def examples(self, count: int, seed: int) -> list[Example]:
        """The same examples for the same seed, one after the other, repetitions possible."""
        generator = random.Random(f"{self.name} {seed}")  # a text as seed is hashed the same on every machine
        return [self.draw(generator) for _ in range(count)]


def _addition(generator: random.Random) -> Example:
    """Two numbers of one or two digits: ``47+85=`` and ``132``."""
    a, b = generator.randrange(100), generator.randrange(100)
    return Example(f"{a}+{b}=", str(a + b))


def _brackets(generator: random.Random) -> Example:
    """Brackets opened, some of them closed: ``([]{=`` and ``})``."""
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
        CouplingError: with the names that there are.
    """
    if name not in TASKS:
        raise CouplingError(f"there is no task {name!r}; the built-in ones are {', '.join(TASKS)}")
    return TASKS[name]


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character of ``CHARACTERS``, and tokens for the end, padding and anything else."""
    tokens = [PAD, END, UNKNOWN, *CHARACTERS]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, unk_token=UNKNOWN, padding_side="left",
        model_max_length=64, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def text_of(completion: Completion) -> str:
    """What the model wrote, of a completion in either of TRL's formats."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def exact(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where a completion is the answer and nothing else (white space at the ends aside), else 0.

    Args:
        completions: one a prompt, in either of TRL's formats.
        answer: the right text of each, from the data's column ``answer``.
    """
    return [float(text_of(text).strip() == str(right).strip()) for text, right in zip(completions, answer, strict=True)]


def number(completions: Sequence[Completion], answer: Sequence[str], **_: Any) -> list[float]:
    """1 where the last number of a completion equals the last number of the answer (as in GSM8K), else 0.

    Args:
        completions: one a prompt, in either of TRL's formats.
        answer: a text that ends in the right number, such as ``... #### 1,200``.
    """
    return [
        float(_last_number(text_of(text)) == (right_number := _last_number(str(right))) and right_number is not None)
        for text, right in zip(completions, answer, strict=True)
    ]


def _last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


REWARDS: dict[str, Callable[..., list[float]]] = {"exact": exact, "number": number}
