"""The prompts of a run that is being measured: one file that only grows, of records with checksums.

A record is a header and one prompt's Dataset. The header names the run that it belongs to and what was measured, so
that nothing of another run is ever taken for this one's. Records are found again by the mark that each begins with, so
that a damaged one costs no other.
"""

import contextlib
import hashlib
import json
import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from safetensors import SafetensorError
from safetensors.numpy import load, save

from coupling.errors import CouplingError
from coupling.untrusted import check_regular, clean

MARK = b"\x93coupling part\r\n"
HEADER = struct.Struct("<16s Q Q 32s 32s 32s")
"""The mark, the length of what follows, the prompt, the hashes of the run's identity and of the prompt, a checksum."""
LAYOUT = struct.Struct("<I")
SYNC_SECONDS = 1.0
"""How often what was written is forced to the disk; it survives the process at once, and a loss of power after that."""
MOST_PROMPTS = 2**32
"""Numbers of records of a streamed measurement are those of prompts modulo this (``coupling.stream_store``)."""


def prompt_of(number: int) -> int:
    """The prompt that a record of a streamed measurement is of, from its number in the file."""
    return number % MOST_PROMPTS


@dataclass(frozen=True)
class Record:
    """Where a prompt's Dataset is in the file.

    Attributes:
        prompt: the number of the prompt.
        identity: the SHA-256 of the identity of the run that it was measured for.
        inputs: the SHA-256 of what was measured, in hexadecimal.
        start: where its Dataset begins.
        length: how many bytes it has.
    """

    prompt: int
    identity: bytes
    inputs: str
    start: int
    length: int


class PartsFile:
    """The file that the prompts of a run are appended to.

    Args:
        path: the file; it is made with the first prompt.
        identity: the SHA-256 of the run's identity.
    """

    def __init__(self, path: Path, identity: bytes) -> None:
        self.path, self.identity = path, identity
        self.records: dict[int, Record] = {}
        self._descriptor: int | None = None
        self._synced = time.monotonic()

    def read(self) -> bool:
        """Find the prompts that the file contains; what was cut short at its end is removed.

        Returns:
            Whether the file is damaged, so that prompts in it are lost.

        Raises:
            CouplingError: if it contains a prompt of another run, or cannot be read.
        """
        if not self.path.exists():
            return False
        try:
            found, end, is_damaged = scan(self.path)
            foreign = next((record for record in found if record.identity != self.identity), None)
            if foreign is not None:
                raise CouplingError(
                    f"{clean(self.path, 300)} contains measurement {foreign.prompt} of a run of another model or other "
                    "settings, so it cannot be resumed; give another `out`, or `overwrite=True`"
                )
            self.records = {record.prompt: record for record in found}
            if end < self.path.stat().st_size:
                os.truncate(self.path, end)
        except OSError as error:
            raise CouplingError(f"cannot read {clean(self.path, 300)}: {error.strerror or error}") from None
        return is_damaged

    def get(self, prompt: int) -> xr.Dataset | None:
        """A prompt's Dataset; None if it has not been measured, or cannot be read."""
        content = self.content(prompt)
        try:
            return None if content is None else decode(content)
        except CouplingError:
            return None

    def content(self, number: int) -> bytes | None:
        """The content of a record; None if there is no such record, or it cannot be read."""
        record = self.records.get(number)
        if record is None:
            return None
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(record.start)
            return file.read(record.length)
        return None

    def append(self, prompt: int, inputs: str, dataset: xr.Dataset) -> None:
        """Write one prompt's Dataset to the end of the file.

        Raises:
            CouplingError: if the disk is full, or the file cannot be written; the prompts before are kept.
        """
        self.append_content(prompt, inputs, encode(dataset))

    def append_content(self, prompt: int, inputs: str, content: bytes) -> None:
        """Write a record to the end of the file.

        Raises:
            CouplingError: if the disk is full, or the file cannot be written; the records before are kept.
        """
        digest = bytes.fromhex(inputs)
        check = _checksum(len(content), prompt, self.identity, digest, content)
        try:
            descriptor = self._opened()
            end = os.fstat(descriptor).st_size
            try:
                _write(descriptor, HEADER.pack(MARK, len(content), prompt, self.identity, digest, check) + content)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end)
                raise
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            raise CouplingError(f"cannot write {clean(self.path, 300)}: {error.strerror or error}") from None
        self.records[prompt] = Record(prompt, self.identity, inputs, end + HEADER.size, len(content))

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        self.records = {}
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Force what was written to the disk, and close the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o666)
        return self._descriptor


def scan(path: Path) -> tuple[list[Record], int, bool]:
    """The whole records of a file, the end of the last of them, and whether there is anything else in it.

    Raises:
        CouplingError: if it is not a regular file.
        OSError: if it cannot be read.
    """
    if check_regular(path) == 0:
        return [], 0, False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = list(_whole_records(content))
        covered = sum(HEADER.size + record.length for record in found)
        end = found[-1].start + found[-1].length if found else 0
        return found, end, covered < len(content)


def _whole_records(content: mmap.mmap) -> Iterator[Record]:
    at = content.find(MARK)
    while at >= 0:
        record = _record_at(content, at)
        if record is not None:
            yield record
        at = content.find(MARK, at + len(MARK) if record is None else record.start + record.length)


def _record_at(content: mmap.mmap, at: int) -> Record | None:
    """The record that begins at a mark; None if it is damaged or cut short."""
    start = at + HEADER.size
    if start > len(content):
        return None
    _, length, prompt, identity, inputs, check = HEADER.unpack(content[at:start])
    if length > len(content) - start:
        return None
    with memoryview(content) as view, view[start : start + length] as payload:
        if _checksum(length, prompt, identity, inputs, payload) != check:
            return None
    return Record(prompt, identity, inputs.hex(), start, length)


def _checksum(length: int, prompt: int, identity: bytes, inputs: bytes, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(struct.pack("<Q Q", length, prompt) + identity + inputs)
    digest.update(content)
    return digest.digest()


def _write(descriptor: int, content: bytes) -> None:
    """Write all of it: a disk that runs full may take a part."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def encode(dataset: xr.Dataset) -> bytes:
    """A Dataset as bytes: its names, dimensions and texts as JSON, and its numbers as safetensors.

    Unlike a pickle it cannot run code, and unlike NetCDF it takes well under a millisecond.
    """
    arrays: dict[str, np.ndarray] = {}
    variables = []
    for name, variable in dataset.variables.items():
        values = variable.values
        entry: dict[str, Any] = {"name": name, "dims": variable.dims, "attrs": variable.attrs}
        if values.dtype.kind in "OU":
            entry["text"] = values.tolist()
        else:
            arrays[str(name)] = np.asarray(values, order="C")
        variables.append(entry | {"is_coordinate": name in dataset.coords})
    layout = json.dumps({"variables": variables, "attrs": dataset.attrs}).encode()
    return LAYOUT.pack(len(layout)) + layout + save(arrays)


def decode(content: bytes) -> xr.Dataset:
    """The Dataset that ``encode`` was given.

    Raises:
        CouplingError: if the bytes are not such a Dataset.
    """
    try:
        (length,) = LAYOUT.unpack_from(content)
        layout = json.loads(content[LAYOUT.size : LAYOUT.size + length])
        arrays = load(content[LAYOUT.size + length :])
        variables: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for entry in layout["variables"]:
            name = entry["name"]
            values = np.array(entry["text"], dtype=str) if "text" in entry else arrays[name]
            variables[entry["is_coordinate"]][name] = (tuple(entry["dims"]), values, entry["attrs"])
        return xr.Dataset(variables[False], variables[True], layout["attrs"])
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError, SafetensorError) as error:
        raise CouplingError(f"a saved prompt cannot be read ({type(error).__name__})") from None
