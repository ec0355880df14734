"""Counting the operations of matrix products."""

import torch

from benchmarks.operations import Operations


def test_products_count_and_additions_do_not():
    with Operations() as operations:
        torch.ones(4, 3) @ torch.ones(3, 5) + 1
    assert operations.count == 2 * 4 * 3 * 5


def test_double_precision_counts_twice():
    with Operations() as operations:
        torch.ones(4, 3).double() @ torch.ones(3, 5).double()
    assert operations.count == 2 * 2 * 4 * 3 * 5


def test_products_of_a_backward_pass_count():
    x = torch.ones(4, 3, requires_grad=True)
    with Operations() as operations:
        (x @ torch.ones(3, 5)).sum().backward()
    assert operations.count == 2 * 2 * 4 * 3 * 5
