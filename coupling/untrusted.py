"""What comes from outside: text made safe to print, and files read within bounds.

Nothing that was read is printed before ``clean`` has made its control characters visible, and nothing is read without
a bound on its size and its nesting. This file is long because all readers share these bounds and their messages.
"""

import json
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Any

from coupling.errors import CouplingError, first_line

MOST_JSON = 64 * 2**20
"""The most bytes of a JSON file; the largest index of a sharded checkpoint has a few million."""
MOST_YAML = 2**20
"""The most bytes of a YAML file."""
MOST_DEPTH = 64
"""The deepest nesting of a JSON or YAML value."""
MOST_DIGITS = 300
"""The most digits of an integer, so that each has a float."""
MOST_NODES = 100_000
"""The most values of a YAML file once its aliases are written out."""
MOST_SHOWN = 2000
"""The most characters of one message."""

JOINERS = "\u200c\u200d"
"""The two invisible characters that are part of words (Persian, Hindi) and of emoji."""
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal acts on or does not show: controls, formats such as the direction of writing,
halves of characters, and separators of lines and paragraphs."""


def clean(text: object, most: int | None = MOST_SHOWN, *, keep: str = "") -> str:
    r"""A text with every character visible that a terminal would act on, as Python writes it in a literal.

    Escapes and other controls, bidirectional formats, line and paragraph separators and lone surrogates are replaced;
    all else stays. A text that is too long is cut in the middle.

    Args:
        text: anything; ``str`` is taken of it.
        most: the most characters of the result; None for no bound.
        keep: characters that stay, such as line breaks in a text of several lines.

    Example:
        >>> clean("a\x1b[31mred\u202e")
        'a\\x1b[31mred\\u202e'
        >>> clean("abcdefghijkl", 7)
        'abc…jkl'
    """
    whole = text if isinstance(text, str) else str(text)
    if most is not None:
        whole = shortened(whole, most)
    if whole.isascii() and whole.isprintable():
        return whole
    visible = "".join(
        _literal(character)
        if character not in keep and character not in JOINERS and unicodedata.category(character) in INVISIBLE
        else character
        for character in whole
    )
    return visible if most is None else shortened(visible, most)


def _literal(character: str) -> str:
    """A character as Python writes it in a literal."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def shortened(text: str, most: int) -> str:
    """A text cut in the middle to at most ``most`` characters."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return text[: most - 1 - tail] + "…" + text[len(text) - tail :]


def quoted(value: object, most: int = 80) -> str:
    """A value as a message quotes it: its ``repr``, cleaned and short; only the beginning of a long text is read.

    Example:
        >>> quoted("a" * 100, 9)
        "'aaa…aaa'"
    """
    if isinstance(value, (str, bytes)) and len(value) > most:
        half = max((most - 3) // 2, 1)
        joint: Any = "…" if isinstance(value, str) else b"..."
        value = value[:half] + joint + value[-half:]
    elif isinstance(value, (list, tuple, set, frozenset, dict)):  # whose repr could be of any length
        return f"{type(value).__name__} of {len(value)}" if _is_large(value) else clean(repr(value), most)
    elif isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to write out thousands of digits
        return f"an integer of {value.bit_length()} bits"
    return clean(repr(value), most + 20)


def _is_large(value: Any, budget: int = 200) -> bool:
    """Whether a nested value has more than ``budget`` items or characters; stops counting there, aliases and all."""
    stack, count = [value], 0
    while stack and count <= budget:
        item = stack.pop()
        count += 1
        if isinstance(item, dict):
            stack += list(item.keys())[:budget] + list(item.values())[:budget]
            count += len(item) > budget and len(item)
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += list(item)[:budget]
            count += len(item) > budget and len(item)
        elif isinstance(item, (str, bytes)):
            count += len(item)
        elif isinstance(item, int):
            count += item.bit_length() // 4
    return count > budget


def expanded(path: str | Path) -> Path:
    """A path with ``~`` and ``~user`` replaced by the home folder.

    Raises:
        CouplingError: if there is no such user, or the path contains a NUL character.
    """
    if "\0" in str(path):
        raise CouplingError(f"{quoted(str(path))} contains a NUL character, so it is not the name of a file")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise CouplingError(
            f"there is no home folder for {clean(Path(path).parts[0], 80)} in {clean(path, 200)}"
        ) from None


def kind_of_file(mode: int) -> str:
    """What a file is that is not a regular one, in words."""
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    kinds |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "not a file")


def check_regular(path: Path) -> int:
    """The size of a regular file in bytes; opening a pipe or a device could wait for ever.

    Raises:
        CouplingError: if it is a pipe, a socket, a device or a folder.
        OSError: if there is none.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CouplingError(f"{clean(path, 300)} is {kind_of_file(status.st_mode)}, but a file was expected")
    return status.st_size


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file's bytes.

    Raises:
        CouplingError: if it is not a regular file, or has more than ``most`` bytes.
        OSError: if it cannot be read.
    """
    if "\0" in str(path):
        raise CouplingError(f"{quoted(str(path))} contains a NUL character, so it is not the name of a file")
    # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CouplingError(f"{clean(path, 300)} is {kind_of_file(status.st_mode)}, but a file was expected")
        content = file.read(most + 1) if status.st_size <= most else b""
    if status.st_size > most or len(content) > most:
        size = max(status.st_size, len(content))
        raise CouplingError(f"{clean(path, 300)} has {size:,} bytes; at most {most:,} are read")
    return content


def as_text(content: bytes, source: object) -> str:
    """Bytes as UTF-8 text, without a byte order mark.

    Raises:
        CouplingError: if they are not UTF-8.
    """
    name = clean(source, 300)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CouplingError(f"{name} is not UTF-8 text but UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CouplingError(f"{name} is not UTF-8 text (byte {error.start}); save it in that encoding") from None


def read_text(path: Path, most: int) -> str:
    """A regular file's UTF-8 text.

    Raises:
        CouplingError: if it is not a regular file, too large, or not UTF-8.
        OSError: if it cannot be read.
    """
    return as_text(read_bytes(path, most), path)


def parse_json(text: str, source: object) -> Any:
    """A JSON value.

    Args:
        text: the JSON.
        source: what the message calls it: a file, or a file and a line.

    Raises:
        CouplingError: if it is not JSON, nested too deeply, or has an integer of too many digits.
    """
    try:
        return _json_value(text)
    except ValueError as error:
        raise CouplingError(f"{clean(source, 300)} is not JSON: {error}") from None


def read_json(path: Path, most: int = MOST_JSON) -> Any:
    """A JSON file's value.

    Raises:
        CouplingError: if it cannot be read within the bounds.
    """
    try:
        return _json_value(read_text(path, most))
    except OSError as error:
        raise CouplingError(f"{clean(path, 300)} cannot be read: {error.strerror or error}") from None
    except CouplingError:
        raise
    except ValueError as error:
        raise CouplingError(f"{clean(path, 300)} cannot be read as JSON: {error}") from None


def _json_value(text: str) -> Any:
    """A JSON value; every ValueError that is raised has a short message."""
    if json_depth(text) > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
    try:
        return json.loads(text, parse_int=_bounded_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} (line {error.lineno}, column {error.colno})") from None


def _bounded_int(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits")
    return int(digits)


BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
"""A JSON string, or a bracket outside one."""


def json_depth(text: str) -> int:
    """The deepest nesting of a JSON text; counting stops beyond ``MOST_DEPTH``.

    Example:
        >>> json_depth('{"a": ["[[", {}]}')
        3
    """
    depth = deepest = 0
    for match in BRACKETS.finditer(text):
        character = match[0][0]
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MOST_DEPTH:
                break
        elif character in "]}":
            depth -= 1
    return deepest


def parse_yaml(text: str, source: object) -> Any:
    """A YAML value, by the safe loader; the size that its aliases would have when written out is bounded.

    Args:
        text: the YAML.
        source: what the message calls it.

    Raises:
        CouplingError: if it is not YAML, nested too deeply, refers to itself, or blows up.
    """
    import yaml

    name = clean(source, 300)
    if len(text) > MOST_YAML:
        raise CouplingError(f"{name} has {len(text):,} characters; at most {MOST_YAML:,} of YAML are read")
    try:
        _check_depth(yaml.parse(text, Loader=yaml.SafeLoader), name)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _expanded_size(root, name) > MOST_NODES:
            raise CouplingError(f"{name} has more than {MOST_NODES:,} values once its aliases are written out")
        return yaml.load(text, Loader=yaml.SafeLoader)
    except CouplingError:
        raise
    except yaml.MarkedYAMLError as error:
        place = f" (line {error.problem_mark.line + 1})" if error.problem_mark is not None else ""
        raise CouplingError(f"{name} is not YAML: {clean(error.problem, 200)}{place}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError, AttributeError, KeyError) as error:
        raise CouplingError(f"{name} cannot be read as YAML: {clean(first_line(error), 200)}") from None


def _check_depth(events: Any, name: str) -> None:
    depth = 0
    for event in events:
        kind = type(event).__name__
        if kind in ("SequenceStartEvent", "MappingStartEvent"):
            depth += 1
            if depth > MOST_DEPTH:
                raise CouplingError(f"{name} is nested more than {MOST_DEPTH} levels deep")
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            depth -= 1


def _expanded_size(root: Any, name: str) -> int:
    """The number of values below a node with every alias written out, counted without writing them out."""
    sizes: dict[int, int | None] = {}

    def size(node: Any) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise CouplingError(f"{name} contains an alias of a value inside that value itself")
            return known
        sizes[id(node)] = None
        children: list[Any] = []
        if isinstance(node.value, list):
            children = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        total = 1 + sum(size(child) for child in children)
        sizes[id(node)] = total
        return total

    return size(root)
