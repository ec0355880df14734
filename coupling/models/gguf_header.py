"""The header of a GGUF file, checked before it is read: every length that it states lies within the file.

The package that reads GGUF files believes the counts in the header, and one that was made up keeps it busy for ever.
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from pathlib import Path
from typing import BinaryIO

from coupling.errors import CouplingError
from coupling.untrusted import check_regular, clean

MAGIC = b"GGUF"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of each scalar type."""
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 8
MOST_NESTED = 4
"""The deepest arrays in arrays."""


class _DamagedError(Exception):
    """A length in the header that does not fit the file."""


class _Header:
    """Reads forward through a header, never beyond the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.left = file, size
        self.order = "<"

    def take(self, count: int) -> bytes:
        self._spend(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self._spend(count)
        self.file.seek(count, 1)

    def number(self, form: str) -> int:
        return int(struct.unpack(self.order + form, self.take(struct.calcsize("<" + form)))[0])

    def count(self, least: int) -> int:
        """A number of items of at least so many bytes each."""
        count = self.number("Q")
        if count * least > self.left:
            raise _DamagedError(f"it states {count:,} items, more than the file has room for")
        return count

    def text(self) -> None:
        self.skip(self.count(1))

    def value(self, kind: int, depth: int = 0) -> None:
        if kind in SIZES:
            self.skip(SIZES[kind])
        elif kind == STRING:
            self.text()
        elif kind == ARRAY and depth < MOST_NESTED:
            kind = self.number("I")
            if kind in SIZES:
                self.skip(self.count(SIZES[kind]) * SIZES[kind])
            else:
                for _ in range(self.count(8)):
                    self.value(kind, depth + 1)
        else:
            raise _DamagedError(
                f"it has a value of the unknown type {kind}" if kind != ARRAY else "it is nested too deeply"
            )

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _DamagedError("it ends within its header")


def check_gguf_header(file: Path) -> None:
    """Check that a file begins as a GGUF file, and that its header lies within it.

    Args:
        file: the file.

    Raises:
        CouplingError: if it is not a GGUF file, or its header states more than the file has.
        OSError: if it cannot be read.
    """
    size = check_regular(file)
    with file.open("rb") as opened:
        if opened.read(4) != MAGIC:
            raise CouplingError(f"{clean(file)} is not a GGUF file (it does not begin with GGUF), or is damaged")
        try:
            _walk(_Header(opened, size - 4))
        except _DamagedError as error:
            raise CouplingError(f"the header of the GGUF file {clean(file)} is damaged: {error}") from None


def _walk(header: _Header) -> None:
    """Read a header to its end: the version, the counts, the keys and values, and what is said of each tensor."""
    version = header.take(4)
    if version[:2] == b"\0\0":  # a small number whose first bytes are zero was written by the other byte order
        header.order = ">"
    tensors, pairs = header.count(24), header.count(13)
    for _ in range(pairs):
        header.text()
        header.value(header.number("I"))
    for _ in range(tensors):
        header.text()
        dimensions = header.number("I")
        if dimensions > MOST_DIMENSIONS:
            raise _DamagedError(f"a tensor has {dimensions:,} dimensions")
        header.skip(8 * dimensions + 12)
