"""Batches are of inputs of one shape, and formed from the whole list."""

import torch

from coupling.batches import Batches, joint_progress, shape_of
from coupling.resources import Resources


def test_inputs_of_one_shape_share_a_batch():
    assert shape_of({"input_ids": torch.zeros(1, 5)}) == shape_of({"input_ids": torch.ones(1, 5)})
    assert shape_of({"input_ids": torch.zeros(1, 5)}) != shape_of({"input_ids": torch.zeros(1, 6)})
    assert shape_of({"pixel_values": torch.zeros(1, 3, 8, 8)}) is None
    assert shape_of({"input_ids": torch.zeros(1, 5), "other": "text"}) is None


def test_batches_are_filled_in_order():
    batches = Batches(["a", "b", "a", "a", None, "b", None], [4] * 7, 32, 3, Resources(batch_size=2))
    assert [batches.of(index) for index in range(7)] == [[0, 2], [1, 5], [0, 2], [3], [4], [1, 5], [6]]


def test_progress_of_a_batch_is_that_of_one_after_the_other():
    seen = []
    report = joint_progress(lambda *call: seen.append(call), 4, 10, 2)
    for done in (1, 3, 4, 6):
        report(done, 6)
    assert seen == [(4, 10, 1, 3), (5, 10, 0, 3), (5, 10, 1, 3), (5, 10, 3, 3)]
    joint_progress(None, 0, 1, 1)(1, 1)
