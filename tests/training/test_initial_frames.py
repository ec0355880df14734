"""The initial model's frames on disk."""

from itertools import chain

import pytest
import torch

from coupling.training.initial_frames import FILE, read_frames, write_frames
from coupling.training.probe import Probe
from tests.tiny_policy import make_policy

PROMPTS = [torch.tensor([[2, 3, 4, 5]]), torch.tensor([[5, 4, 3]])]
IDENTITY = {"k": 2, "prompts": ["é"]}


@pytest.fixture(scope="module")
def frames():
    probe = Probe(PROMPTS, k=2)
    probe.measure(make_policy().eval())
    return probe.initial


def test_frames_are_read_as_they_were_written(frames, tmp_path):
    write_frames(frames, tmp_path, IDENTITY)
    again = read_frames(tmp_path, IDENTITY)
    assert [len(blocks) for blocks in again] == [3, 3]
    for before, after in zip(chain(*frames), chain(*again), strict=True):
        assert after.operator is None
        assert after.moments == before.moments
        for name in ("left", "values", "right", "error"):
            assert torch.equal(getattr(after.triplets, name), getattr(before.triplets, name))
        assert (after.triplets.engine, after.triplets.converged) == (before.triplets.engine, before.triplets.converged)


def test_frames_of_something_else_are_not_read(frames, tmp_path):
    assert read_frames(tmp_path, IDENTITY) is None
    write_frames(frames, tmp_path, IDENTITY)
    assert read_frames(tmp_path, IDENTITY | {"k": 3}) is None
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    assert read_frames(tmp_path, IDENTITY) is None
