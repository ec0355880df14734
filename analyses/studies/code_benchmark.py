"""A small exact-match benchmark on Python source: close a bracket, indent the next line, name a keyword's argument.

An item is the source up to a position and what must follow there. The model continues greedily, and the item is right
if its continuation begins with the answer and then ends it: an indentation is followed by the first character of the
line, a name by something that is not part of a name. Items are taken from modules that were not trained on, and are the
same ones every time. A position is used only where a byte-level BPE starts a new token, so that the prompt ends where a
token ends.
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
        prompt: the module's source up to the position.
        answer: a regular expression that the right continuation begins with.
    """

    task: str
    prompt: str
    answer: str

    def right(self, continuation: str) -> bool:
        """Whether the continuation begins with the answer."""
        return re.match(self.answer, continuation) is not None


def make_items(modules: list[Module], per_task: int = 100, seed: int = 0) -> list[Item]:
    """Make items from modules: equally many of each task and, within a task, of each kind of answer.

    Args:
        modules: source that the models were not trained on.
        per_task: the most items of each task.
        seed: seed of the choice among all positions.
    """
    by_kind: dict[str, dict[str, list[Item]]] = {task: {} for task in TASKS}
    for module in modules:
        for kind, item in _items_of(module.text):
            by_kind[item.task].setdefault(kind, []).append(item)
    chosen = []
    for task, kinds in by_kind.items():
        for kind in sorted(kinds):
            generator = random.Random(f"{seed} {task} {kind}")
            chosen += generator.sample(kinds[kind], min(len(kinds[kind]), per_task // len(kinds)))
    return chosen


def _items_of(text: str) -> Iterator[tuple[str, Item]]:
    """Every item that a module's source yields, with its kind."""
    lines = text.splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]  # of each line, in characters from the beginning
    yield from _token_items(text, starts)
    yield from _indentation_items(text, lines, starts)


def _token_items(text: str, starts: list[int]) -> Iterator[tuple[str, Item]]:
    """The items whose answer is one token: a closing bracket, or a name after a keyword."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type != tokenize.COMMENT]
    for previous, token in pairwise(tokens):
        line, column = token.start
        position = starts[line - 1] + column
        if token.type == tokenize.OP and token.string in ")]}" and text[position - 1].isalnum():
            yield token.string, Item("bracket", text[:position], re.escape(token.string))
        elif token.type == tokenize.NAME and previous.type == tokenize.NAME and previous.string in KEYWORDS:
            space = position - 1  # a byte-level BPE joins the space before a name to the name
            if text[space] == " " and text[space - 1].isalpha() and _can_be_known(token.string, text[:space]):
                yield "name", Item("keyword argument", text[:space], rf" {token.string}(?![A-Za-z0-9_])")


def _indentation_items(text: str, lines: list[str], starts: list[int]) -> Iterator[tuple[str, Item]]:
    """The items whose answer is the next line's indentation, after a line that opens a block or may end one."""
    for index, line in enumerate(lines[:-1]):
        kind = "block opens" if OPENS_BLOCK.match(line) else "block may end" if ENDS_BLOCK.match(line) else None
        if kind is None:
            continue
        end = starts[index + 1] - 1  # of the line, before its newline
        answer = re.match(r"\n+ *(?=[^\s])", text[end:])
        if answer is not None:
            yield kind, Item("indentation", text[:end], re.escape(answer[0]) + r"[^\s]")


def _can_be_known(name: str, before: str) -> bool:
    """Whether a name can follow from what was read: a constant, a built-in, or named in the last 200 characters."""
    if keyword.iskeyword(name):
        return name in CONSTANTS
    return name in dir(builtins) or re.search(rf"\b{name}\b", before[-200:]) is not None


@torch.no_grad()
def score_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: list[Item],
    *,
    new_tokens: int = 8,
    batch: int = 50,
) -> dict[str, float]:
    """The share of items of each task that a model gets right when it continues greedily.

    Args:
        model: a causal language model.
        tokenizer: the model's tokenizer; as many of a prompt's last tokens are kept as fit into the context.
        items: what ``make_items`` made.
        new_tokens: number of tokens to generate.
        batch: items per generation.
    """
    model.eval()
    right: dict[str, list[bool]] = {}
    for start in range(0, len(items), batch):
        group = items[start : start + batch]
        continuations = _continue(model, tokenizer, [item.prompt for item in group], new_tokens)
        for item, text in zip(group, continuations, strict=True):
            right.setdefault(item.task, []).append(item.right(text))
    return {task: sum(outcomes) / len(outcomes) for task, outcomes in right.items()}


def _continue(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], new_tokens: int
) -> list[str]:
    """Greedy continuations of several prompts, which are padded on the left."""
    generate: Any = model.generate  # the class that mixes it in hides its type
    context = model.config.max_position_embeddings - new_tokens
    ids = [
        # 20 characters per token are more than enough, and tokenizing less of a long module is faster
        tokenizer.encode(prompt[-20 * context :], add_special_tokens=False, verbose=False)[-context:]
        for prompt in prompts
    ]
    width = max(map(len, ids))
    padding = [[tokenizer.pad_token_id] * (width - len(row)) + row for row in ids]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    output = generate(
        input_ids=torch.tensor(padding, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer.batch_decode(output[:, width:])
