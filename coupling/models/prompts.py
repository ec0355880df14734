"""Where prompts come from: a text, a file, standard input, a data set, or the bundled set."""

import csv
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError, first_line, missing_extra
from coupling.models.chat import PromptWarning, as_messages, is_conversation
from coupling.untrusted import as_text, check_regular, clean, expanded, parse_json, quoted, read_bytes

SUFFIXES = (".txt", ".jsonl", ".csv")
USUAL_COLUMNS = ("prompt", "text")
CHAT_COLUMNS = ("messages", *USUAL_COLUMNS)
CATEGORY = "category"
"""The column of a prompt's category, by which scores are given apart."""
MOST_BYTES = 256 * 2**20
"""The most bytes of a prompts file, and of standard input."""
FILE_NAME = re.compile(r"[^\s\0]*[/\\][^\s\0]*|[\w.-]+\.[A-Za-z]\w{1,4}")
"""A text that is probably meant as a file: a path without spaces, or a word with a suffix."""
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
MOST_COLUMNS = 20
"""Columns that a message lists."""


@dataclass(frozen=True)
class Prompts:
    """Texts to measure on, and the name of their source.

    Attributes:
        texts: one per prompt, none of them empty.
        source: "bundled", a file's name, "standard input", "text", or "dataset NAME".
        conversations: the messages of each prompt, where the source contains chats; its texts are then the messages as
            JSON, until a tokenizer's chat template renders them.
        categories: the category of each prompt, where the source says it.
    """

    texts: list[str]
    source: str
    conversations: list[list[dict[str, Any]]] | None = None
    categories: list[str] | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise CouplingError(f"there are no prompts in {self.source}")
        for index, text in enumerate(self.texts):
            if not text.strip():
                raise CouplingError(f"prompt {index} of {self.source} is empty")
            half = HALF_CHARACTER.search(text)
            if half is not None:
                raise CouplingError(
                    f"prompt {index} of {self.source} contains a lone surrogate (U+{ord(half[0]):04X}), half of a "
                    "character that was cut, so it is not text"
                )

    def limited(self, limit: int | None) -> "Prompts":
        """The first ``limit`` prompts; all of them for None."""
        if limit is not None and limit < 1:
            raise CouplingError(f"`limit` is {limit}, but must be at least 1")
        conversations = None if self.conversations is None else self.conversations[:limit]
        categories = None if self.categories is None else self.categories[:limit]
        return Prompts(self.texts[:limit], self.source, conversations, categories)

    @classmethod
    def of(cls, items: Sequence[Any], source: str, categories: list[str] | None = None) -> "Prompts":
        """Prompts from texts, or from conversations."""
        if items and all(is_conversation(item) for item in items):
            conversations = [list(item) for item in items]
            texts = [json.dumps(messages, ensure_ascii=False) for messages in conversations]
            return cls(texts, source, conversations, categories)
        return cls(list(items), source, None, categories)

    def as_chats(self) -> list[list[dict[str, Any]]]:
        """The messages of each prompt; a text is the message of a user."""
        return self.conversations or [as_messages(text) for text in self.texts]


def bundled_prompts() -> Prompts:
    """The project's own prompts: facts, arithmetic, code and common sense, seven of each."""
    text = files("coupling").joinpath("data/prompts.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    order = sorted(range(len(rows)), key=lambda i: sum(r["category"] == rows[i]["category"] for r in rows[:i]))
    rows = [rows[i] for i in order]  # interleaved, so that a limit takes prompts of every kind
    return Prompts([row["text"] for row in rows], "bundled", categories=[row["category"] for row in rows])


def read_prompts(source: str | Sequence[Any] | None, *, column: str | None = None, chat: bool = False) -> Prompts:
    """Prompts from a text, a file, standard input or the bundled set.

    Args:
        source: a text; a .txt (one prompt per line), .jsonl or .csv file; "-" for standard input (one per line);
            a sequence of texts; None for the bundled set.
        column: the field of a .jsonl or .csv file that contains the prompt (default: ``prompt`` or ``text``).
        chat: the prompts will be rendered by a chat template, so a prompt may be a list of messages (in a file by
            default the field ``messages``).

    Raises:
        CouplingError: if a file is missing, unreadable or not UTF-8, a field is missing, or a prompt is empty.
    """
    if source is None:
        if column is not None:
            raise CouplingError(f"`column` {quoted(column)} was given without a prompts file or data set")
        return bundled_prompts()
    if not isinstance(source, str):
        return Prompts.of(_texts(list(source), chat), "texts")
    if source == "-":
        return Prompts(_lines(as_text(_standard_input(), "standard input")), "standard input")
    suffix = Path(source).suffix.lower() if "\n" not in source else ""
    if suffix not in SUFFIXES:
        if not source.strip():
            raise CouplingError("the prompt is empty")
        if len(source) < 256 and "\n" not in source and "\0" not in source and os.path.exists(source):
            raise CouplingError(
                f"{source} exists, but is not a {', '.join(SUFFIXES)} file; rename it, or pipe it into -"
            )
        if column is not None:
            raise CouplingError(f"`column` {quoted(column)} was given, but the prompt is a text")
        if FILE_NAME.fullmatch(source):
            warnings.warn(
                f"{quoted(source)} looks like the name of a file, but there is none, and it is measured as a text",
                PromptWarning,
                stacklevel=2,
            )
        return Prompts([source], "text")
    try:
        content = read_bytes(expanded(source), MOST_BYTES)
    except OSError as error:
        raise CouplingError(
            f"cannot read the prompts file {clean(source, 300)}: {error.strerror or error} (an argument that ends in "
            f"{', '.join(SUFFIXES)} is taken for a file)"
        ) from None
    text = as_text(content, source)
    if not text.strip():
        raise CouplingError(f"the prompts file {source} is empty")
    if suffix == ".txt":
        return Prompts(_lines(text), source)
    rows = _json_rows(text, source) if suffix == ".jsonl" else _csv_rows(text, source)
    return Prompts.of(_pick(rows, column, source, chat=chat), source, _categories(rows, source, column))


def dataset_prompts(
    name: str, *, config: str | None = None, split: str | None = None, column: str | None = None,
    limit: int | None = None, chat: bool = False,
) -> Prompts:  # fmt: skip
    """Prompts from anything that ``datasets.load_dataset`` loads.

    Args:
        name: a hub id, or a local folder or file.
        config: the data set's configuration.
        split: default: the first that exists of test, validation and train.
        column: default: ``prompt`` or ``text``.
        limit: read at most this many rows.
        chat: see ``read_prompts``.

    Raises:
        CouplingError: if the ``datasets`` package, the data set, the split or the column is missing.
    """
    loaded, chosen = open_dataset(name, config=config, split=split, purpose="a data set of prompts")
    rows: list[Any] = list(islice(loaded, limit))
    picked = _pick(rows, column, f"dataset {name}", chat=chat)
    return Prompts.of(picked, f"dataset {name} [{chosen}]", _categories(rows, f"dataset {name}", column))


def open_dataset(name: str, *, config: str | None, split: str | None, purpose: str) -> tuple[Any, str]:
    """The rows of a split of anything that ``datasets.load_dataset`` loads, and the split's name.

    Args:
        name: a hub id, or a local folder or file.
        config: the data set's configuration.
        split: default: the first that exists of test, validation and train.
        purpose: what needs the ``datasets`` package; the subject of the error's sentence.

    Raises:
        CouplingError: if the ``datasets`` package, the data set or the split is missing.
    """
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", purpose) from None
    datasets.disable_progress_bars()
    path = expanded(name)
    builder = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}
    try:
        if path.exists() and path.suffix in builder:
            check_regular(path)
            loaded = datasets.load_dataset(builder[path.suffix], data_files=str(path))
        else:
            loaded = datasets.load_dataset(name, config)
    except CouplingError:
        raise
    except Exception as error:  # loaders raise anything; the message names the data set
        raise CouplingError(f"cannot load the data set {name}: {clean(first_line(error), 300)}") from None
    names = list(loaded)
    chosen = split or next((s for s in ("test", "validation", "train") if s in names), names[0])
    if chosen not in names:
        raise CouplingError(f"the data set {name} has no split {quoted(chosen)}; it has {', '.join(map(str, names))}")
    return loaded[chosen], str(chosen)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise CouplingError("standard input is closed, so there are no prompts in it")
    try:
        content = sys.stdin.buffer.read(MOST_BYTES + 1)
    except OSError as error:
        raise CouplingError(f"cannot read standard input: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise CouplingError(f"standard input has more than {MOST_BYTES:,} bytes; at most that many are read")
    return content


def _lines(text: str) -> list[str]:
    return [line for line in (line.rstrip("\r") for line in text.split("\n")) if line.strip()]


def _json_rows(text: str, source: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines, which also cuts at U+2028
        if line.strip():
            rows.append(parse_json(line, f"{clean(source, 300)}, line {number},"))
    return rows


def _csv_rows(text: str, source: str) -> list[Any]:
    csv.field_size_limit(2**31 - 1)
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise CouplingError(f"{source} is not a CSV file: {clean(error, 200)}") from None


def _texts(items: list[Any], chat: bool) -> list[Any]:
    """A caller's prompts, checked: texts, or conversations where these will be rendered."""
    for index, item in enumerate(items):
        if not isinstance(item, str) and not (chat and is_conversation(item)):
            hint = "; `chat=True` renders a list of messages" if is_conversation(item) else ""
            raise CouplingError(f"prompt {index} is not a text but {type(item).__name__}{hint}")
    return _alike(items, "texts")


def _alike(items: list[Any], source: str) -> list[Any]:
    """The items, where all are texts or all are conversations."""
    if len({isinstance(item, str) for item in items}) > 1:
        raise CouplingError(f"{source} mixes texts and lists of messages; give them apart")
    return items


def _pick(rows: list[Any], column: str | None, source: str, *, chat: bool = False) -> list[Any]:
    """The prompt in every row: a text, or a conversation where these will be rendered."""
    if not rows:
        raise CouplingError(f"there are no prompts in {source}")
    if all(isinstance(row, str) for row in rows) and column is None:
        return rows
    if chat and column is None and all(is_conversation(row) for row in rows):
        return rows
    if not all(isinstance(row, dict) for row in rows):
        raise CouplingError(f"the rows of {source} are not objects with named fields")
    names = list(rows[0])
    if column is None:
        usual = [name for name in (CHAT_COLUMNS if chat else USUAL_COLUMNS) if name in names]
        column = usual[0] if usual else names[0] if len(names) == 1 else None
    if column is None or column not in names:
        asked = "the column of the prompts is not clear" if column is None else f"there is no column {quoted(column)}"
        listed = ", ".join(clean(name, 60) for name in names[:MOST_COLUMNS])
        more = f" and {len(names) - MOST_COLUMNS} more" if len(names) > MOST_COLUMNS else ""
        raise CouplingError(f"{asked} in {source}; name it with `column`: {listed}{more}")
    values = []
    for index, row in enumerate(rows):
        value = row.get(column)
        if not isinstance(value, str) and not (chat and is_conversation(value)):
            hint = ", but a list of messages, which `chat=True` renders" if is_conversation(value) else ""
            raise CouplingError(f"row {index} of {source} has no text in column {quoted(column)}{hint}")
        values.append(value)
    return _alike(values, source)


def _categories(rows: list[Any], source: str, column: str | None) -> list[str] | None:
    """The category of every row, where the rows have them; numbers are taken as text."""
    if column == CATEGORY or not all(isinstance(row, dict) for row in rows):
        return None
    if not any(row.get(CATEGORY) not in (None, "") for row in rows):
        return None
    for index, row in enumerate(rows):
        if not isinstance(row.get(CATEGORY), (str, int)) or row[CATEGORY] == "":
            raise CouplingError(f"row {index} of {source} has no text in column {CATEGORY!r}, and other rows have one")
    return [str(row[CATEGORY]) for row in rows]
