"""Blocks whose weights stay in half precision in memory: one block at a time is widened to float32, when it is called.

Half precision is measured best after widening, which is exact; but a widened model takes twice the memory of its
checkpoint. Here each block keeps its weights as they are stored. When it is called, in a forward pass or for a
Jacobian, they are widened, and those of the block that was called before are dropped. What is outside of the blocks is
widened at once. Every number is that of the widened model.
"""

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from coupling.models.folder import Found
from coupling.models.formats import quantization_of
from coupling.models.offloading import Offloaded
from coupling.models.size import least_parameters, stored_numbers
from coupling.weights_hash import combined_hash, digest_of

HALF = (torch.bfloat16, torch.float16)
"""What weights are narrowed to, where that is exact."""
FEWEST = 2**28
"""Numbers in a checkpoint below which it is widened as a whole, because that is faster."""

_of_models: WeakKeyDictionary[nn.Module, "Narrow"] = WeakKeyDictionary()


class Narrow:
    """The blocks of a model, of which at most one is in float32.

    Args:
        model: the model, in float32.
        names: the names of the blocks.
        stored: for each block its weights in half precision, by their names in the block; default: those of the block,
            where half precision represents them exactly.

    Attributes:
        modules: the blocks.
        resident: the block that is in float32; None before the first call.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], stored: Sequence[dict[str, nn.Parameter]] | None = None
    ) -> None:
        self.names = list(names)
        self.modules = [model.get_submodule(name) for name in names]
        self.resident: nn.Module | None = None
        self._stored: dict[nn.Module, dict[str, nn.Parameter]] = {}
        for index, module in enumerate(self.modules):
            own = _narrowed(module) if stored is None else stored[index]
            self._stored[module] = own
            _put(module, own)
            module.register_forward_pre_hook(self._before)
        _of_models[model] = self

    @classmethod
    def of_offloaded(cls, offloaded: Offloaded) -> "Narrow":
        """The blocks of a model that are on disk, read once.

        Raises:
            CouplingError: if a weight cannot be read.
        """
        stored = [
            {key: _parameter(_narrowest(tensor).to(offloaded.device)) for key, tensor in offloaded.stored(module)}
            for module in offloaded.modules
        ]
        offloaded.close()
        return cls(offloaded.model, offloaded.names, stored)

    def widen(self, module: nn.Module) -> None:
        """Bring a block into float32, in place of the one that is."""
        if module is self.resident:
            return
        if self.resident is not None:
            _put(self.resident, self._stored[self.resident])
            self.resident = None
        wide: dict[nn.Parameter, nn.Parameter] = {}  # tied weights stay one
        for parameter in self._stored[module].values():
            if parameter not in wide:
                wide[parameter] = _parameter(parameter.float()) if parameter.dtype in HALF else parameter
        _put(module, {key: wide[parameter] for key, parameter in self._stored[module].items()})
        self.resident = module

    def hash(self, model: nn.Module) -> str:
        """The hash of all weights, equal to ``weights_hash`` of the widened model."""
        inside = {f"{name}.{key}": p for name, module in self._named() for key, p in self._stored[module].items()}
        described = {}
        for key, tensor in model.state_dict().items():
            stored = inside.get(key)
            wide = tensor if stored is None else stored.detach().float() if stored.dtype in HALF else stored.detach()
            described[key] = (wide.dtype, wide.shape, digest_of(wide))
        return combined_hash(described)

    def _named(self) -> Iterator[tuple[str, nn.Module]]:
        return zip(self.names, self.modules, strict=True)

    def _before(self, module: nn.Module, args: object) -> None:
        self.widen(module)


def is_worth_narrowing(config: PretrainedConfig, found: Found | None) -> bool:
    """Whether a checkpoint is large, and its weights are, or can be, in half precision.

    Args:
        config: its configuration.
        found: its weights; None where they are not known.
    """
    if config.dtype not in HALF and quantization_of(config) is None:
        return False
    stored = stored_numbers(found) if found is not None and quantization_of(config) is None else None
    return max(least_parameters(config), stored or 0) >= FEWEST


def narrow_of(model: nn.Module) -> Narrow | None:
    """What keeps the blocks of a model in half precision; None where they are as they are."""
    return _of_models.get(model)


def _narrowed(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a block that is in float32, in half precision where that is exact."""
    found: dict[nn.Parameter, nn.Parameter] = {}
    for parameter in module.parameters():
        narrowest = _narrowest(parameter.detach())
        found[parameter] = parameter if narrowest.dtype == parameter.dtype else _parameter(narrowest)
    return {key: found[parameter] for key, parameter in module.named_parameters(remove_duplicate=False)}


def _narrowest(tensor: Tensor) -> Tensor:
    """A tensor in half precision, if that represents it exactly; else the tensor itself."""
    if tensor.dtype != torch.float32:
        return tensor
    halves = (tensor.to(dtype) for dtype in HALF)
    return next((half for half in halves if torch.equal(half.float(), tensor)), tensor)


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _put(module: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
    for key, parameter in parameters.items():
        owner, _, name = key.rpartition(".")
        module.get_submodule(owner)._parameters[name] = parameter
