"""The independent judge: Jacobians of a model's blocks by float64 autograd over the full sequence.

This module imports nothing of the library. One forward pass of a float64 copy with eager attention visits the blocks
in order. Before each call its residual stream is cut from the graph and becomes a variable, wherever the call contains
that tensor; after the call, one backward pass per output coordinate gives the rows of the Jacobian.
"""

import copy
import inspect
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Key = tuple[int, int]


class _LastBlockReachedError(Exception):
    """Ends the forward pass: what follows the last block is not needed."""


class _Precision(TorchFunctionMode):
    """Whatever a model converts to float32 itself, such as the input of a norm or a softmax, stays in this dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            return args[0].to(self.dtype)
        args = tuple(self.dtype if value is torch.float32 else value for value in args)
        kwargs = {key: self.dtype if value is torch.float32 else value for key, value in (kwargs or {}).items()}
        return func(*args, **kwargs)


def reference_jacobians(
    model: nn.Module,
    inputs: dict[str, Any],
    calls: list[str],
    tokens: list[int],
    dtype: torch.dtype = torch.float64,
) -> dict[Key, Tensor]:
    """The derivative of each block's residual update at a token with respect to its input at that token.

    Args:
        model: a transformers model; a copy is used.
        inputs: keyword arguments of its forward pass, batch size 1.
        calls: the qualified name of the module of each block call, in the order of the calls.
        tokens: the tokens at which to differentiate.
        dtype: the precision of the copy.

    Returns:
        A (d, d) matrix per (call, token).
    """
    model = _plain_copy(model, dtype)
    modules = dict(model.named_modules())
    blocks = {modules[name] for name in calls}
    jacobians: dict[Key, Tensor] = {}
    variables: list[Tensor] = []

    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        # The stream is the first positional argument, or the first tensor of shape (1, n, d) among the keywords.
        candidates = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.ndim == 3]
        stream: Tensor = args[0] if args else kwargs["hidden_states"] if "hidden_states" in kwargs else candidates[0]
        variable = stream.detach().clone().requires_grad_()
        variables.append(variable)
        moved = variable.clone()  # a block may write into its input
        return _replace(args, stream, moved), _replace(kwargs, stream, moved)

    def after(block: nn.Module, args: Any, result: Any) -> None:
        output = result[0] if isinstance(result, (tuple, list)) else result
        call = len(variables) - 1
        for token in tokens:
            at = (0, token) if output.ndim == 3 else (token,)  # (1, n, d), or (n, d) without a batch axis
            jacobians[call, token] = _rows(output[at], variables[call], at)
        if len(variables) == len(calls):
            raise _LastBlockReachedError

    for block in blocks:
        block.register_forward_pre_hook(before, with_kwargs=True)
        block.register_forward_hook(after)
    keywords = {key: _as_dtype(value, dtype) for key, value in inputs.items()}
    if "use_cache" in inspect.signature(model.forward).parameters:
        keywords["use_cache"] = False
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.enable_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), _Precision(dtype):
            model(**keywords)
    except _LastBlockReachedError:
        pass
    finally:
        torch.set_default_dtype(default)
    return jacobians


def _plain_copy(model: nn.Module, dtype: torch.dtype) -> Any:
    """A copy in the given precision, with frozen weights, eager attention and eager experts."""
    model = copy.deepcopy(model).to(dtype).eval().requires_grad_(False)
    for setter in ("set_attn_implementation", "set_experts_implementation"):
        # Models without such a choice raise any of these, and compute as they always do, which is right here.
        with suppress(AttributeError, ValueError, KeyError, TypeError, NotImplementedError):  # nothing is left undone
            getattr(model, setter)("eager")
    return model


def _rows(output: Tensor, variable: Tensor, at: tuple[int, ...]) -> Tensor:
    """``d(output - x_t) / dx_t``, one backward pass per row, batched where the operations allow it."""
    unit = torch.eye(output.numel(), dtype=output.dtype)
    first = torch.autograd.grad(output, variable, unit[0], retain_graph=True)[0][at]
    try:
        (pulled,) = torch.autograd.grad(output, variable, unit, retain_graph=True, is_grads_batched=True)
        rows = pulled[:, 0, at[-1]] if pulled.ndim == 4 else pulled[:, at[-1]]
        trusted = torch.allclose(rows[0], first, rtol=1e-9, atol=1e-12)
    except (
        RuntimeError,
        NotImplementedError,
    ):  # an operation cannot be batched: each row has its own pass below
        trusted = False
    if not trusted:
        singly = [torch.autograd.grad(output, variable, u, retain_graph=True)[0][at] for u in unit]
        rows = torch.stack(singly)
    return (rows - unit).detach()


def _replace(value: Any, old: Tensor, new: Tensor) -> Any:
    """The same arguments with one tensor replaced wherever it occurs."""
    if isinstance(value, Tensor):
        return new if value.data_ptr() == old.data_ptr() and value.shape == old.shape else value
    if type(value) in (tuple, list):
        return type(value)(_replace(item, old, new) for item in value)
    if type(value) is dict:
        return {key: _replace(item, old, new) for key, item in value.items()}
    return value


def _as_dtype(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
