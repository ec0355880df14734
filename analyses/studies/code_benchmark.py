"""A small exact-match benchmark on Python source: close a bracket, indent the next line, name a keyword's argument.

An item is the source before a place and what must follow there. The model continues greedily, and the item is
right if its continuation begins with the answer and then ends it (an indentation is followed by the line's first
character, a name by something that is no part of a name). Items are taken from modules that were not trained on, the
same ones every time. A place is taken only where a byte-level BPE starts a new token, so that no tokenization of
the source has to be undone.
"""

import builtins
import io
import keyword
import random
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from coupling.analyses.studies.corpus import Module

TASKS = ("bracket", "indentation", "keyword argument")
KEYWORDS = {"raise", "except", "return", "in", "is", "not", "import", "and", "or", "if"}
"""Keywords whose argument is asked for."""

CONSTANTS = {"None", "True", "False"}
OPENS_BLOCK = re.compile(r" *(?:if|for|while|def|class|with|try|else|elif|except|finally)\b.*:\n")
ENDS_BLOCK = re.compile(r" *(?:return|raise|break|continue|pass)\b.*\w\n")


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        task: one of ``TASKS``.
        prompt: the module's source before the place.
        answer: a regular expression that the right continuation begins with.
    """

    task: str
    prompt: str
    answer: str

    def right(self, continuation: str) -> bool:
        """Whether the continuation begins with the answer."""
        return re.match(self.answer, continuation) is not None


def make_items(modules: list[Module], per_task: int = 100, seed: int = 0) -> list[Item]:
    """Items from modules, the same number of each task and, within a task, of each kind of answer there is.

    Args:
        modules: source that the models were not trained on.
        per_task: at most this many items of each task.
        seed: of the choice among all places.
    """
    found: dict[str, dict[str, list[Item]]] = {task: {} for task in TASKS}
    for module in modules:
        for kind, item in _places(module.text):
            found[item.task].setdefault(kind, []).append(item)
    chosen = []
    for task, kinds in found.items():
        for kind in sorted(kinds):
            generator = random.Random(f"{seed} {task} {kind}")
            chosen += generator.sample(kinds[kind], min(len(kinds[kind]), per_task // len(kinds)))
    return chosen


def _places(text: str) -> Iterator[tuple[str, Item]]:
    """Every place of a module that an item can be made of, with its kind."""
    lines = text.splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type != tokenize.COMMENT]
    for previous, token in pairwise(tokens):
        place = starts[token.start[0] - 1] + token.start[1]
        if token.type == tokenize.OP and token.string in ")]}" and text[place - 1].isalnum():
            yield token.string, Item("bracket", text[:place], re.escape(token.string))
        elif token.type == tokenize.NAME and previous.type == tokenize.NAME and previous.string in KEYWORDS:
            before = place - 1  # the space before the name is the name's first character
            if text[before] == " " and text[before - 1].isalpha() and _can_be_known(token.string, text[:before]):
                yield "name", Item("keyword argument", text[:before], rf" {token.string}(?![A-Za-z0-9_])")
    for index, line in enumerate(lines[:-1]):
        kind = "block opens" if OPENS_BLOCK.match(line) else "block may end" if ENDS_BLOCK.match(line) else None
        if kind is not None:
            end = starts[index + 1] - 1
            answer = re.match(r"\n+ *(?=[^\s])", text[end:])
            if answer is not None:
                yield kind, Item("indentation", text[:end], re.escape(answer[0]) + r"[^\s]")


def _can_be_known(name: str, before: str) -> bool:
    """Whether a name follows from what was read: a constant, a built-in, or named in the last 200 characters."""
    if keyword.iskeyword(name):
        return name in CONSTANTS
    return name in dir(builtins) or re.search(rf"\b{name}\b", before[-200:]) is not None


@torch.no_grad()
def score_items(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: list[Item], *, new_tokens: int = 8,
    batch: int = 50,
) -> dict[str, float]:  # fmt: skip
    """The share of items of each task that a model gets right, continuing greedily.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer; prompts keep as many of their last tokens as fit.
        items: what ``make_items`` made.
        new_tokens: tokens to continue by.
        batch: items at a time.
    """
    model.eval()
    generate: Any = model.generate  # its type is lost behind the class that mixes it in
    room = model.config.max_position_embeddings - new_tokens
    right: dict[str, list[bool]] = {}
    for start in range(0, len(items), batch):
        some = items[start : start + batch]
        ids = [
            tokenizer.encode(item.prompt[-20 * room :], add_special_tokens=False, verbose=False)[-room:]
            for item in some
        ]
        width = max(map(len, ids))
        padding = [[tokenizer.pad_token_id] * (width - len(row)) + row for row in ids]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
        output = generate(
            input_ids=torch.tensor(padding, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        for item, text in zip(some, tokenizer.batch_decode(output[:, width:]), strict=True):
            right.setdefault(item.task, []).append(item.right(text))
    return {task: sum(found) / len(found) for task, found in right.items()}
