"""Text that is made safe to print, and files that are read within bounds."""

import os
import socket
import time

import pytest

from coupling.errors import CouplingError
from coupling.untrusted import (
    MOST_DEPTH,
    as_text,
    check_regular,
    clean,
    expanded,
    json_depth,
    parse_json,
    parse_yaml,
    quoted,
    read_bytes,
    read_json,
)

BOMB = "a: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"b{at}: &a{at} [{','.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 10)
)


def test_everything_that_a_terminal_acts_on_is_visible():
    formats = "\u200b\u200e\u202a\u202e\u2066\u2069\u2028\u2029\ufeff\ud800\U000e0041"
    acted_on = [*map(chr, range(32)), *map(chr, range(127, 160)), *formats]
    for character in acted_on:
        shown = clean(f"a{character}b")
        assert shown.isprintable(), repr(character)
        assert shown.startswith("a\\")
    assert clean("grün 中文 किताब 👩\u200d💻 ±") == "grün 中文 किताब 👩\u200d💻 ±"
    assert clean("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_a_long_text_is_short_and_quick():
    before = time.perf_counter()
    assert len(clean("\x1b" * 10**7, 100)) == 100
    assert len(quoted("a" * 10**7)) < 100
    assert time.perf_counter() - before < 1


def test_values_are_quoted_without_being_written_out():
    assert quoted("a") == "'a'"
    assert quoted([1, 2]) == "[1, 2]"
    assert quoted(10**5000) == "an integer of 16610 bits"
    assert "\x1b" not in quoted({"\x1b": "\x1b"})
    bomb = ["x"] * 9
    for _ in range(30):
        bomb = [bomb] * 9
    assert quoted(bomb) == "list of 9"
    itself: list = []
    itself.append(itself)
    assert len(quoted(itself)) < 50


def test_home_folders():
    assert str(expanded("~/a")) == os.path.expanduser("~/a")
    with pytest.raises(CouplingError, match="no home folder for ~nobody-of-that-name"):
        expanded("~nobody-of-that-name/run")
    with pytest.raises(CouplingError, match="NUL"):
        expanded("a\0b")


def test_what_is_not_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.bind(str(tmp_path / "socket"))
    cases = [(tmp_path / "pipe", "a named pipe"), (tmp_path / "socket", "a socket"), (tmp_path, "a folder")]
    for path, kind in [*cases, ("/dev/zero", "a device")]:
        with pytest.raises(CouplingError, match=f"{kind}, but a file was expected"):
            check_regular(type(tmp_path)(path))
    for path in (tmp_path / "pipe", type(tmp_path)("/dev/zero")):
        with pytest.raises(CouplingError, match="but a file was expected"):
            read_bytes(path, 10)


def test_sizes_are_bounded(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(CouplingError, match="a has 5 bytes; at most 4 are read"):
        read_bytes(path, 4)


def test_other_encodings_are_named():
    assert as_text(b"\xef\xbb\xbfa", "x") == "a"
    with pytest.raises(CouplingError, match="x is not UTF-8 text but UTF-16"):
        as_text("a".encode("utf-16"), "x")
    with pytest.raises(CouplingError, match=r"x is not UTF-8 text \(byte 1\)"):
        as_text(b"a\xff", "x")


def test_json_is_bounded(tmp_path):
    assert parse_json('{"a": [1, "[[[["]}', "x") == {"a": [1, "[[[["]}
    assert json_depth("[" * 10**6) == MOST_DEPTH + 1
    for text in ("[" * 10**6, '{"a":' * 1000, "[" * 70 + "]" * 70):
        with pytest.raises(CouplingError, match="nested more than 64 levels deep"):
            parse_json(text, "x")
    with pytest.raises(CouplingError, match="an integer has 5000 digits"):
        parse_json("1" * 5000, "x")
    with pytest.raises(CouplingError, match=r"x is not JSON: .* \(line 1, column 2\)"):
        parse_json("{", "x")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(CouplingError, match=r"x.json cannot be read as JSON: .*line 1"):
        read_json(tmp_path / "x.json")
    with pytest.raises(CouplingError, match="cannot be read: No such file"):
        read_json(tmp_path / "y.json")


def test_yaml_is_bounded():
    assert parse_yaml("a: &b [1, 2]\nc: *b", "x") == {"a": [1, 2], "c": [1, 2]}
    with pytest.raises(CouplingError, match="more than 100,000 values once its aliases are written out"):
        parse_yaml(BOMB, "x")
    with pytest.raises(CouplingError, match="inside that value itself"):
        parse_yaml("a: &b [*b]", "x")
    with pytest.raises(CouplingError, match="nested more than 64 levels deep"):
        parse_yaml("[" * 10_000, "x")
    for text in (
        "a: [",
        "a: \x1b",
        "a: 2001-99-99",
        "a: *b",
        "!!python/object:os.system a",
        "1" * 5000,
        "? {a: b}\n: c",
    ):
        with pytest.raises(CouplingError, match=r"^x "):
            parse_yaml(text, "x")
    with pytest.raises(CouplingError, match="at most 1,048,576 of YAML are read"):
        parse_yaml("a" * 2**21, "x")
