"""The file of measured prompts: what is whole is found, and nothing else is."""

import random

import numpy as np
import pytest
import xarray as xr

from coupling.errors import CouplingError
from coupling.parts_file import PartsFile, decode, encode, scan

IDENTITY = b"i" * 32


def part(number: int) -> xr.Dataset:
    return xr.Dataset(
        {
            "m": (("k", "block"), np.full((2, 3), number / 3), {"units": "1"}),
            "stream": (("token", "feature"), np.zeros((number + 1, 2), np.float32)),
            "count": ((), number),
            "local": (("block",), [True, False, True]),
            "text": ((), "zwei <ü> \u2028"),
            "tokens": (("token",), [f"t{at}" for at in range(number + 1)]),
        },
        {"k": [5, 10], "block": [0, 1, 2]},
        {"engine": "dense", "width": 16},
    )


@pytest.fixture
def written(tmp_path):
    file = PartsFile(tmp_path / "parts.bin", IDENTITY)
    for number in range(6):
        file.append(number, f"{number:064x}", part(number))
    file.close()
    return tmp_path / "parts.bin"


def test_what_is_encoded_is_decoded():
    for number in range(3):
        again = decode(encode(part(number)))
        assert again.identical(part(number))
        assert {name: again[name].dtype for name in again} == {name: part(number)[name].dtype for name in again}
        assert encode(again) == encode(part(number))


def test_any_damage_costs_only_the_parts_that_it_is_in(written):
    content, draws = written.read_bytes(), random.Random(0)
    records, end, is_damaged = scan(written)
    assert [record.prompt for record in records] == list(range(6))
    assert (end, is_damaged) == (len(content), False)
    for _ in range(100):
        damaged = bytearray(content)
        at = draws.randrange(len(content))
        change = draws.randrange(3)
        if change == 0:
            damaged[at] ^= 1 << draws.randrange(8)
        elif change == 1:
            del damaged[at:]
        else:
            damaged[at:at] = draws.randbytes(50)
        written.write_bytes(damaged)
        file = PartsFile(written, IDENTITY)
        assert file.read() or at in [record.start - 136 for record in records]  # cut exactly between two
        hit = {record.prompt for record in records if record.start - 136 <= at < record.start + record.length}
        lost = set(range(6)) - file.records.keys()
        assert lost == (hit if change != 1 else set(range(min(hit), 6))) or lost == set()
        for prompt in file.records:
            assert file.get(prompt).identical(part(prompt))
        for prompt in lost:
            file.append(prompt, f"{prompt:064x}", part(prompt))
        file.close()
        again = PartsFile(written, IDENTITY)
        again.read()
        assert again.records.keys() == set(range(6))


def test_parts_of_another_run_are_refused(written):
    with pytest.raises(CouplingError, match="of a run of another model or other settings"):
        PartsFile(written, b"j" * 32).read()


def test_bytes_that_are_not_a_part_are_one_error():
    content = encode(part(1))
    for broken in (b"", b"\xff" * 100, content[:50], content[:-5], b"\x02\0\0\0{}" + content):
        with pytest.raises(CouplingError, match="cannot be read"):
            decode(broken)


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "parts.bin").symlink_to(tmp_path / "thesis")
    with pytest.raises(CouplingError, match="cannot write"):
        PartsFile(tmp_path / "parts.bin", IDENTITY).append(0, "0" * 64, part(0))
    assert (tmp_path / "thesis").read_text() == "years of work"
