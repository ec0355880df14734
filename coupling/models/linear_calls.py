"""The calls of a block's linear layers in its graph, and the directions along which derivatives are compared."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class CutError(Exception):
    """A graph cannot be cut where it was to be: a part of it acts in another way than was found out before."""


@dataclass(frozen=True)
class Call:
    """One call of a linear layer ``y = W h + b``.

    Attributes:
        module: the layer.
        entered: h.
        output: y, with the graph behind it.
        onward: what the block went on with: y, or the same values cut from the graph.
        version: how often y had been changed in place when the layer returned it.
    """

    module: nn.Module
    entered: Float[Tensor, "*batch r features"]
    output: Float[Tensor, "*batch r out"]
    onward: Float[Tensor, "*batch r out"]
    version: int = 0

    @property
    def is_changed(self) -> bool:
        """Whether the block has changed y in place, so that its graph is no longer that of the layer."""
        return self.output._version != self.version

    @property
    def weight(self) -> Float[Tensor, "out features"]:
        """W."""
        weight: Tensor = self.module.weight.detach()  # type: ignore[operator]
        return weight.mT if isinstance(self.module, Conv1D) else weight


def features_of(layer: nn.Module) -> int:
    """The number of a linear layer's outputs."""
    return layer.weight.shape[1 if isinstance(layer, Conv1D) else 0]  # type: ignore[index, return-value]


def linear_layers(block: nn.Module) -> list[nn.Module]:
    """The layers of a block that are linear and nothing else: no subclass, wrapper or hook changes what they do."""
    return [module for module in block.modules() if is_linear(module)]


def is_linear(module: nn.Module) -> bool:
    """Whether a layer is linear and nothing else."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module) in (nn.Linear, Conv1D) and "forward" not in vars(module) and not hooked


@contextmanager
def observing(modules: Sequence[nn.Module], *, cut: bool = False) -> Iterator[list[Call]]:
    """A context in which calls of linear layers are noted, and their outputs cut from the graph if asked for."""
    calls: list[Call] = []

    def after(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        onward = output.detach().requires_grad_() if cut else output
        calls.append(Call(module, args[0], output, onward, output._version))
        return onward

    handles = [module.register_forward_hook(after) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def direction(like: Tensor) -> Tensor:
    """A random tensor of the shape and dtype of another, the same each time."""
    generator = torch.Generator().manual_seed(like.numel())
    return torch.randn(like.shape, generator=generator).to(like)


def same_direction(a: Tensor, b: Tensor) -> bool:
    """Whether two derivatives agree to the rounding of their dtype, with room for cancellation inside the block.

    In half precision rounding reaches 2 eps, and what is left of a wrong derivative is not far above that; so there is
    less room.
    """
    eps = max(torch.finfo(a.dtype).eps, torch.finfo(torch.float32).eps)
    tolerance = (256 if a.dtype.itemsize > 2 else 8) * eps
    error = torch.linalg.vector_norm((a - b).double())
    return bool(error <= tolerance * torch.linalg.vector_norm(b.double()).clamp_min(1e-30))
