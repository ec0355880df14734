"""Datasets as NetCDF: the same bytes each time, and a damaged file one error."""

import os
from contextlib import suppress

import numpy as np
import pytest
import xarray as xr

from coupling.errors import CouplingError
from coupling.netcdf import read_dataset, to_bytes

DATASET = xr.Dataset({"m": ("x", np.arange(3.0)), "text": ("x", ["a", "ü", "\u4e16"])}, attrs={"seed": 0, "name": "n"})


def test_what_is_written_is_read_and_written_alike(tmp_path):
    (tmp_path / "a.nc").write_bytes(to_bytes(DATASET))
    again = read_dataset(tmp_path / "a.nc")
    assert again.identical(DATASET)
    assert to_bytes(again) == to_bytes(DATASET)
    assert "m" not in read_dataset(tmp_path / "a.nc", without=["m"])


def test_damaged_files_and_pipes_are_one_error(tmp_path):
    content = to_bytes(DATASET)
    draws = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        for at in draws.integers(0, len(content), 20):
            damaged[at] = draws.integers(256)
        (tmp_path / "a.nc").write_bytes(damaged)
        with suppress(CouplingError):  # whether this damage is noticed depends on where it lies; nothing else is raised
            read_dataset(tmp_path / "a.nc")
    os.mkfifo(tmp_path / "pipe.nc")
    with pytest.raises(CouplingError, match="is a named pipe"):
        read_dataset(tmp_path / "pipe.nc")
