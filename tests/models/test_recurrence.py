"""What a block keeps of earlier tokens: filled once, frozen, and the same at every call."""

import inspect

import torch
from transformers.cache_utils import LinearAttentionAndFullAttentionLayer

from coupling.models.recurrence import Memory, RecordedKeys


def filled(keys=True):
    memory = Memory(keys=keys)
    memory.update(torch.arange(6.0).reshape(1, 1, 3, 2), torch.ones(1, 1, 3, 2), 0)
    memory.update_conv_state(torch.arange(3.0).reshape(1, 1, 3), 0, conv_kernel_size=4)
    memory.update_recurrent_state(torch.full((1, 2), 7.0), 0)
    memory.freeze(3)
    return memory


KNOWS_KERNELS = (
    "conv_kernel_size" in inspect.signature(LinearAttentionAndFullAttentionLayer.update_conv_state).parameters
)
"""Not so in the earliest versions, whose models pad by themselves; there the check of values decides on a block."""


def test_it_answers_as_the_cache_of_transformers_does():
    own, memory = LinearAttentionAndFullAttentionLayer(), Memory(keys=True)
    keys, values, states = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), torch.randn(1, 5, 2)
    for new in (False, True):  # three tokens, then one
        one = slice(0, 1) if new else slice(0, 3)
        expected = own.update(keys[:, :, one], values[:, :, one])
        given = memory.update(keys[:, :, one], values[:, :, one], 0)
        assert all(torch.equal(a, b) for a, b in zip(given, expected, strict=True))
        if KNOWS_KERNELS:
            inputs = states[..., :1] if new else states
            expected_inputs = own.update_conv_state(inputs, conv_kernel_size=4)
            assert torch.equal(memory.update_conv_state(inputs, 0, conv_kernel_size=4), expected_inputs)
        if not new:
            memory.freeze(3)
            assert not KNOWS_KERNELS or torch.equal(memory.get_conv_state(0), own.conv_states[0])


def test_while_it_is_filled_there_are_no_earlier_tokens():
    memory = Memory(keys=True)
    memory.update_recurrent_state(torch.ones(1, 2), 0)
    assert memory.get_recurrent_state(0) is None
    assert not memory.has_previous_state(0)
    assert (memory.get_seq_length(), memory.get_query_offset(), memory.get_mask_sizes(3)) == (0, 0, (3, 0))


def test_a_frozen_memory_is_changed_by_nothing():
    memory = filled()
    for _ in range(2):
        keys, _ = memory.update(torch.full((1, 1, 1, 2), 9.0), torch.ones(1, 1, 1, 2), 0)
        assert keys.flatten().tolist() == [0, 1, 2, 3, 4, 5, 9, 9]
        memory.update_recurrent_state(torch.zeros(1, 2), 0)
        memory.update_conv_state(torch.full((1, 1, 1), 5.0), 0)
        assert memory.get_recurrent_state(0).tolist() == [[7, 7]]
        assert memory.get_conv_state(0).tolist() == [[[0, 0, 1, 2]]]
    assert memory.get_mask_sizes(1) == (4, 0)
    assert memory.get_query_offset() == memory.get_seq_length() == 3


def test_writes_into_states_are_left_out_and_others_are_not():
    memory = filled()
    with memory.writes_nowhere():
        state, other = memory.get_recurrent_state(0), torch.zeros(1, 2)
        state.copy_(torch.zeros(1, 2))
        state[:, 0].copy_(torch.zeros(1))
        other.copy_(torch.ones(1, 2))
    assert state.tolist() == [[7, 7]]
    assert other.tolist() == [[1, 1]]


def test_keys_that_are_recorded_elsewhere_are_not_put_in_front():
    new = torch.ones(1, 1, 1, 2)
    assert filled(keys=False).update(new, new, 0)[0] is new


def test_recorded_keys_stand_in_front_of_the_new_one():
    key, value = torch.randn(2, 3, 5), torch.randn(2, 3, 4)
    cache = RecordedKeys(key[:, :2], value[:, :2])
    keys, values = cache.update(key[None, :, 2:], value[None, :, 2:], 0)
    assert torch.equal(keys[0], key)
    assert torch.equal(values[0], value)
    assert cache.get_seq_length() == 2
