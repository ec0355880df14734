"""Which layers are linear, and what is noted of their calls."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from coupling.models.linear_calls import direction, features_of, is_linear, linear_layers, observing, same_direction


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_only_layers_that_are_linear_and_nothing_else():
    hooked, patched = nn.Linear(3, 3), nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, args, output: 2 * output)
    patched.forward = lambda x: x
    plain, transposed = nn.Linear(3, 5), Conv1D(5, 3)
    block = nn.ModuleList([hooked, patched, Scaled(3, 3), nn.ReLU(), plain, transposed])
    assert linear_layers(block) == [plain, transposed]
    assert not is_linear(hooked)
    assert features_of(plain) == features_of(transposed) == 5


def test_calls_have_the_weight_as_a_matrix_and_are_cut():
    x = torch.randn(1, 3, requires_grad=True)
    for layer in (nn.Linear(3, 5), Conv1D(5, 3)):
        with observing([layer]) as calls:
            y = layer(x)
        assert calls[0].entered is x
        assert calls[0].onward is calls[0].output is y
        assert torch.allclose(x @ calls[0].weight.mT + layer.bias, y)
        with observing([layer], cut=True) as calls:
            y = layer(x)
        assert y is calls[0].onward
        assert y.is_leaf
        assert calls[0].output.grad_fn is not None
        assert not layer._forward_hooks


def test_directions_that_agree():
    a = direction(torch.zeros(1000))
    assert torch.equal(a, direction(torch.zeros(1000)))
    assert same_direction(a, a * (1 + 2e-7))
    assert not same_direction(a, a + 1e-3)
    assert same_direction(a.bfloat16(), a.bfloat16() * 1.001)
    assert not same_direction(a.bfloat16(), a.bfloat16() * 1.2)
