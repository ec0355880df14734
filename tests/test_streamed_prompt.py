"""One prompt of a streamed measurement: which products come in which pass, and what is read back."""

import pytest
import torch

from coupling.models.inputs import TextInput
from coupling.models.streaming import Stop
from coupling.plan import Key
from coupling.stream_store import temporary_store
from coupling.streamed_prompt import StreamedPrompt, _TwoLayers
from tests.streaming import small_settings


def prompt(tmp_path, **options):
    one = TextInput("a b", {"input_ids": torch.zeros(1, 4, dtype=torch.long)}, list("abcd"))
    made = StreamedPrompt(0, one, small_settings(**options), temporary_store(tmp_path, {0: "0" * 64}))
    for block in range(3):
        made.resolve(Stop(block, torch.nn.Identity(), block, None, torch.zeros(1, 4, 16)), [0, 1, 2])
    return made


def test_products_with_later_blocks_come_in_the_second_pass(tmp_path):
    depth = prompt(tmp_path)
    assert [depth.later_rows(block) for block in range(3)] == [[(0, Key(0, 3, 3))], [(0, Key(1, 3, 3))], []]
    same = prompt(tmp_path, kind="self")
    assert [same.later_rows(block) for block in range(3)] == [[], [], []]
    pairs = prompt(tmp_path, kind="self", tokens=(0, 1), block_pairs=((0, 2), (2, 1)))
    assert pairs.later_rows(0) == [(0, Key(0, 0, 0)), (0, Key(0, 1, 1))]
    assert pairs.later_rows(2) == []
    assert pairs.keys(2) == {Key(2, 0, 0): 2, Key(2, 1, 1): 2}


def test_a_result_that_was_saved_comes_back(tmp_path):
    from coupling.models.streaming import Passed

    made = prompt(tmp_path)
    stop = Stop(0, torch.nn.Identity(), 0, None, torch.ones(1, 4, 16))
    result = (torch.full((1, 4, 16), 2.0), None)
    assert made.keep_result(stop, Passed(result, result[0], changed_arguments=False))
    again = made.result(0)
    assert torch.equal(again[0], result[0])
    assert again[1] is None
    assert not made.keep_result(stop, Passed(result, result[0], changed_arguments=True))
    with pytest.raises(KeyError):
        made.result(0)


def test_two_layers_stand_for_a_trajectory():
    layers = _TwoLayers(4, torch.zeros(3, 2), torch.ones(3, 2), 7)
    assert layers.shape == (7, 3, 2)
    assert layers[4].sum() == 0
    assert layers[5, 1].tolist() == [1, 1]
