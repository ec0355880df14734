"""How many floating-point operations the matrix products of a piece of code have, in units of float32."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """A context that counts the operations of matrix products, as PyTorch's own counter does for each.

    An operation in float64 counts as two, because a processor does half as many of them in a second. Elementwise
    operations and decompositions of thin matrices are not counted.

    Attributes:
        count: the operations so far.

    Example:
        >>> with Operations() as operations:
        ...     product = torch.ones(2, 3) @ torch.ones(3, 5)
        >>> operations.count
        60
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            factor = 2 if isinstance(result, Tensor) and result.dtype == torch.float64 else 1
            self.count += factor * formula(*args, **(kwargs or {}), out_val=result)
        return result
