"""Tensors that are read from files of safetensors one by one."""

import os

import pytest
import torch
from safetensors.torch import save_file

from coupling.errors import CouplingError
from coupling.models.shards import STORED, Shard


@pytest.mark.parametrize("dtype", STORED.values())
def test_every_type_is_read_as_safetensors_wrote_it(tmp_path, dtype):
    expected = {
        "a": torch.randint(0, 2, (3, 5)).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.empty(0, 4, dtype=dtype),
    }
    save_file(expected, tmp_path / "x.safetensors")
    shard = Shard(tmp_path / "x.safetensors")
    for name, tensor in expected.items():
        found = shard.read(name)
        assert (found.dtype, found.shape) == (dtype, tensor.shape)
        assert torch.equal(found.float(), tensor.float())
        assert shard.size_of(name) == tensor.nbytes


def test_what_is_cut_short_or_changed_is_named(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"first": torch.zeros(8), "second": torch.ones(8)}, file)
    os.truncate(file, file.stat().st_size - 4)
    shard = Shard(file)
    assert shard.read("first").sum() == 0
    with pytest.raises(CouplingError, match=r"second in .*x\.safetensors: the file is truncated"):
        shard.read("second")
    with pytest.raises(CouplingError, match=r"third in .*x\.safetensors"):
        shard.read("third")
    os.utime(file, ns=(1, 1))
    with pytest.raises(CouplingError, match=r"x\.safetensors has changed since the run began \(while first"):
        shard.read("first")
    file.unlink()
    with pytest.raises(CouplingError, match=r"first in .*x\.safetensors: No such file"):
        shard.read("first")


def test_files_that_are_none_of_safetensors(tmp_path):
    (tmp_path / "x").write_bytes(b"\5\0\0\0\0\0\0\0hello")
    with pytest.raises(CouplingError, match="it has no header"):
        Shard(tmp_path / "x")
    with pytest.raises(CouplingError, match="No such file"):
        Shard(tmp_path / "y")
