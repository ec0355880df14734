"""The code blocks of the README and of the documentation: how they are found, and how lines of shell are read."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        document: the file, relative to the repository.
        line: the number of its first line of code.
        language: what follows the fence; empty where nothing does.
        text: the code.
    """

    document: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a block of shell.

    Attributes:
        document: the file, relative to the repository.
        line: the number of its line.
        words: the command and its arguments, without comment and redirections.
        stdin: the file that standard input comes from.
        stdout: the file that standard output goes to.
    """

    document: str
    line: int
    words: tuple[str, ...]
    stdin: str | None = None
    stdout: str | None = None

    def __str__(self) -> str:
        return f"{self.document}:{self.line} {shlex.join(self.words)}"


def blocks(document: Path) -> Iterator[Block]:
    """All fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        yield Block(str(document.relative_to(ROOT)), line, match[1], match[2])


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block of shell; a backslash at the end of a line continues it."""
    first, pending = block.line, ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        first = number if not pending else first
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        words = shlex.split(pending + line, comments=True)
        pending = ""
        redirected = {}
        for sign in ("<", ">"):
            if sign in words:
                at = words.index(sign)
                redirected[sign] = words[at + 1]
                del words[at : at + 2]
        if words:
            yield Command(block.document, first, tuple(words), redirected.get("<"), redirected.get(">"))


def all_blocks(language: str) -> list[Block]:
    """The blocks of one language in all documents."""
    return [block for document in DOCUMENTS for block in blocks(document) if block.language == language]
