"""timm's attention modules through the recording attention, for the time of a measurement.

timm's attention does not go through transformers' interface, but calls torch's ``scaled_dot_product_attention``. Each
of its attention modules is given a forward method, on the instance, in which that call goes to the recording attention;
everything else in the module (projections, norms of queries and keys, gates, relative position bias) runs as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from coupling.errors import CouplingError

Attend = Callable[..., tuple[Tensor, None]]
"""An attention function of transformers' interface: (module, query, key, value, mask, scaling=...)."""


def is_timm(model: nn.Module) -> bool:
    """Whether a model is one of timm's."""
    return type(model).__module__.startswith("timm.")


class _Redirected(TorchFunctionMode):
    """A mode in which scaled dot-product attention of one module is computed by another function."""

    def __init__(self, module: nn.Module, attend: Attend) -> None:
        super().__init__()
        self.module, self.attend = module, attend

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute attention by the other function, and everything else as it is."""
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attention(*args, **(kwargs or {}))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if is_causal:
            n = query.shape[-2]
            attn_mask = torch.ones(1, 1, n, n, dtype=torch.bool, device=query.device).tril()
        elif attn_mask is not None:
            attn_mask = attn_mask.expand(1, -1, -1, -1) if attn_mask.ndim == 4 else attn_mask[None, None]
        output, _ = self.attend(self.module, query, key, value, attn_mask, scaling=scale)
        return output.transpose(1, 2)


@contextmanager
def attending_by(model: nn.Module, attend: Attend) -> Iterator[None]:
    """Send the attention of a timm model to another function; then restore it. Other models are left alone."""
    if not is_timm(model):
        yield
        return
    modules: list[Any] = [module for module in model.modules() if hasattr(module, "fused_attn")]
    before = [(module.fused_attn, vars(module).get("forward")) for module in modules]
    for module in modules:
        module.fused_attn = True
        module.forward = _redirected(module, attend)
    try:
        yield
    finally:
        for module, (fused, forward) in zip(modules, before, strict=True):
            module.fused_attn = fused
            del module.forward
            if forward is not None:  # set on the instance by somebody else, such as accelerate
                module.forward = forward


def _redirected(module: Any, attend: Attend) -> Callable[..., Any]:
    """The forward method of an attention module whose attention is computed by another function.

    A module that rotates queries and keys leaves its first ``num_prefix_tokens`` as they are. On replay it is given
    single tokens, with a rotation for each (the identity for special tokens), so that none may be left out.
    """
    own = module.forward

    @wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        rope, x = kwargs.get("rope"), args[0] if args else kwargs["x"]
        prefix = getattr(module, "num_prefix_tokens", None)
        if rope is not None and prefix is not None and rope.shape[-2] == x.shape[1]:
            module.num_prefix_tokens = 0
        try:
            with _Redirected(module, attend):
                return own(*args, **kwargs)
        finally:
            if prefix is not None:
                module.num_prefix_tokens = prefix

    return forward


def timm_blocks(model: nn.Module) -> list[nn.Module]:
    """The residual blocks of a timm model.

    Raises:
        CouplingError: if it has none of one width.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, (nn.Sequential, nn.ModuleList)) or not len(blocks):
        raise CouplingError(
            f"{type(model).__name__} has no list of blocks, as timm's vision transformers have, so its residual "
            "stream is not found"
        )
    return list(blocks)
