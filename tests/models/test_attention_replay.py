"""Attention of moving tokens, and what is noted of a single one."""

import pytest
import torch

from coupling.models.attention_expansion import Attended
from coupling.models.attention_replay import AmbiguousKeysError, attending, replay_groups

HEADS, N, HEAD = 4, 7, 5


def seen_and_moving(rows: int = 1):
    generator = torch.Generator().manual_seed(0)
    key, value = torch.randn(2, HEADS, N, HEAD, generator=generator, dtype=torch.float64)
    query = torch.randn(1, HEADS, rows, HEAD, generator=generator, dtype=torch.float64, requires_grad=True)
    seen = Attended(key, value, None, HEAD**-0.5, None, None)
    return seen, query, key[None, :, N - rows :].clone(), value[None, :, N - rows :].clone()


def test_a_single_token_is_noted_and_cut():
    seen, query, key, value = seen_and_moving()
    rows = torch.tensor([[N - 1]])
    with attending() as calls:
        whole = replay_groups([seen], query, key, value, rows)
    assert [call.output is call.onward is whole for call in calls] == [True]
    with attending(cut=True) as calls:
        onward = replay_groups([seen], query, key, value, rows)
    (call,) = calls
    assert onward is call.onward
    assert onward.is_leaf
    assert onward.requires_grad
    assert torch.equal(onward, whole)
    # o = z A, head by head, to first order
    (expected,) = torch.autograd.grad(call.output, query, torch.ones_like(call.output), retain_graph=True)
    assert torch.allclose(expected[0, :, 0], call.matrix[:, :HEAD].sum(-1))
    assert call.moving.shape == (1, HEADS, 3 * HEAD)


def test_several_tokens_are_not_noted():
    seen, query, key, value = seen_and_moving(2)
    with attending(cut=True) as calls:
        output = replay_groups([seen], query, key, value, torch.tensor([[N - 2, N - 1]]))
    assert calls == []
    assert output.grad_fn is not None


def test_as_many_tokens_as_keys_are_ambiguous():
    seen, query, key, value = seen_and_moving(N)
    with pytest.raises(AmbiguousKeysError):
        replay_groups([seen], query, key, value, torch.arange(N)[:, None])
