"""Records of Jacobians: what is written is read back."""

import torch

from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.pairwise import factor
from coupling.plan import Key
from coupling.streamed_records import add_factored, add_row, factored_of, rows_of


def test_triplets_and_moments_come_back_exactly():
    generator = torch.Generator().manual_seed(0)
    item = factor(DenseJacobian(torch.randn(16, 16, generator=generator)), 5, n_compared=3)
    content, tensors = {"keys": []}, {}
    add_factored(content, tensors, Key(1, 2, 3), item, "token-local")
    again = factored_of(content["keys"][0], tensors, 0)
    assert again.moments == item.moments
    for name, value in vars(item.triplets).items():
        other = getattr(again.triplets, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_products_come_back_exactly():
    content, tensors = {"rows": []}, {}
    rows = {(0, Key(1, 2, 2)): torch.randn(2, 4, 3, 3).numpy(), (1, Key(1, 3, 3)): torch.randn(2, 4, 3, 3).numpy()}
    for (group, key), (plain, swapped) in rows.items():
        add_row(content, tensors, group, key, (plain, swapped))
    again = rows_of(content, tensors)
    assert list(again) == list(rows)
    for place, (plain, swapped) in again.items():
        assert (plain == rows[place][0]).all()
        assert (swapped == rows[place][1]).all()
