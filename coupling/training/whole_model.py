"""The model of a trainer as it can be measured: unwrapped, without autocast, and gathered where it is sharded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from coupling.errors import CouplingError, first_line


def is_sharded(accelerator: Any, wrapped: nn.Module) -> bool:
    """Whether no process has the whole model: FSDP, DeepSpeed's ZeRO-3, or tensor parallelism."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return int(accelerator.deepspeed_config.get("zero_optimization", {}).get("stage", 0)) == 3
    if accelerator.distributed_type == DistributedType.FSDP:
        return True
    return any(isinstance(parameter, DTensor) for parameter in wrapped.parameters())


def gathered(accelerator: Any, wrapped: nn.Module) -> nn.Module | None:
    """A copy of a sharded model on the CPU of the main process; every process must call this.

    Args:
        accelerator: the trainer's.
        wrapped: the model as the accelerator prepared it.

    Returns:
        The copy on the main process, None on the others.

    Raises:
        CouplingError: on every process, if the weights cannot be gathered; on the main process, if the model cannot be
            built again.
    """
    try:
        # Collective operations. What accelerate does not gather itself (tensor parallelism) comes as DTensors.
        state = {name: _whole(value) for name, value in accelerator.get_state_dict(wrapped).items()}
    except (ValueError, RuntimeError, ImportError) as error:
        raise CouplingError(f"the weights of the sharded model cannot be gathered: {first_line(error)}") from error
    if not accelerator.is_main_process:
        return None
    model = accelerator.unwrap_model(wrapped, keep_torch_compile=False)
    try:
        copied = _built_again(model)
        copied.load_state_dict(state, strict=True, assign=True)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CouplingError(
            f"a copy of the sharded {_own_class(model).__name__} cannot be built: {first_line(error)}"
        ) from error
    if hasattr(copied, "tie_weights"):
        copied.tie_weights()
    return copied.eval()


def _whole(value: Any) -> Any:
    """A tensor on the CPU, gathered where it is distributed."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def _built_again(model: Any) -> Any:
    """A model of the same class and configuration, with adapters of the same configuration where it has some."""
    configurations = getattr(model, "peft_config", None)
    if configurations is None or not hasattr(model, "get_base_model"):
        return _own_class(model)(model.config)
    from peft import get_peft_model

    inner = model.get_base_model()
    adapted: Any = None
    for name, configuration in configurations.items():
        if adapted is None:
            adapted = get_peft_model(_own_class(inner)(inner.config), configuration, adapter_name=name)
        else:
            adapted.add_adapter(name, configuration)
    adapted.set_adapter(model.active_adapter)
    return adapted


def _own_class(model: nn.Module) -> type:
    """The class of a model before FSDP2 replaced it by a subclass of the same module."""
    return next(base for base in type(model).__mro__ if not issubclass(base, FSDPModule))


@contextmanager
def plain_forward(model: nn.Module) -> Iterator[None]:
    """Inside, a model's forward pass is its own, without the autocast that accelerate wraps it in."""
    wrapped = model.__dict__.get("forward")
    original = model.__dict__.get("_original_forward")
    if wrapped is None or original is None:
        yield
        return
    model.forward = original
    try:
        yield
    finally:
        model.forward = wrapped


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """After it, the random number generators are in the state that they had before."""
    devices = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())]
    with torch.random.fork_rng(devices=devices):
        yield
