"""The header of a GGUF file: what it states lies within the file."""

import os
import struct

import pytest

from coupling.errors import CouplingError
from coupling.models.gguf_header import check_gguf_header


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(tensors: int = 0, pairs: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4", "does not begin with GGUF"),
        (b"GGUF", "ends within its header"),
        (header(2**60), "items, more than the file has room for"),
        (header(0, 2**60), "items, more than the file has room for"),
        (header(0, 1) + struct.pack("<Q", 2**62) + bytes(20), "more than the file has room for"),
        (header(0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**60) + bytes(9), "more than the file has room for"),
        (header(0, 1) + text("a") + struct.pack("<I", 99) + bytes(9), "unknown type 99"),
        (header(0, 1) + text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9, "nested too deeply"),
        (header(1) + text("a") + struct.pack("<I", 2**31) + bytes(30), "dimensions"),
    ],
)
def test_damaged_headers(tmp_path, content, message):
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(CouplingError, match=message):
        check_gguf_header(tmp_path / "a.gguf")


def test_whole_headers(tmp_path):
    pair = text("a") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("y")
    tensor = text("t") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    (tmp_path / "a.gguf").write_bytes(header(1, 1) + pair + tensor)
    check_gguf_header(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))  # of the other byte order
    check_gguf_header(tmp_path / "b.gguf")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.gguf")
    with pytest.raises(CouplingError, match="a named pipe"):
        check_gguf_header(tmp_path / "a.gguf")
