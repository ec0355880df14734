"""The records of a streamed measurement."""

import pytest
import torch

from coupling.errors import CouplingError
from coupling.parts_file import PartsFile, prompt_of
from coupling.stream_store import KINDS, StreamStore, decode, encode, temporary_store

INPUTS = {0: "0" * 64, 7: "1" * 64}


def test_records_come_back_and_are_told_apart(tmp_path):
    store = temporary_store(tmp_path, INPUTS)
    for index, kind in enumerate(KINDS):
        for prompt in INPUTS:
            store.put(kind, index, prompt, {"kind": kind}, {"x": torch.full((2,), float(prompt)).bfloat16()})
    again = StreamStore(PartsFile(store.file.path, bytes(32)), INPUTS)
    again.file.read()
    assert {prompt_of(number) for number in again.file.records} == {0, 7}
    for index, kind in enumerate(KINDS):
        content, tensors = again.get(kind, index, 7)
        assert content == {"kind": kind}
        assert tensors["x"].tolist() == [7.0, 7.0]
        assert tensors["x"].dtype == torch.bfloat16
        assert not again.has(kind, index + 1, 7)
    again.clear()
    assert not again.has("result", 0, 0)
    assert not store.file.path.exists()
    with pytest.raises(CouplingError, match="damaged"):
        again.get("result", 0, 0)


def test_views_and_transposed_tensors_are_saved_as_they_look():
    tensor = torch.arange(6.0).reshape(2, 3)
    content, tensors = decode(encode({}, {"a": tensor.mT, "b": tensor[0], "c": tensor}))
    assert content == {}
    assert torch.equal(tensors["a"], tensor.mT)
    assert torch.equal(tensors["b"], tensor[0])
