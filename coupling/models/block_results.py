"""What a block returned, as tensors and JSON: so it is saved, and given to the model again in place of the block."""

from typing import Any

from torch import Tensor

PLAIN = (bool, int, float, str, type(None))


def packed(result: Any) -> tuple[Any, list[Tensor]] | None:
    """The structure of a result, and its tensors; None where it is of more than tensors, tuples, lists and None.

    Example:
        >>> import torch
        >>> packed((torch.zeros(2), None))
        (['tuple', [0, None]], [tensor([0., 0.])])
    """
    tensors: list[Tensor] = []
    try:
        return _structure(result, tensors), tensors
    except TypeError:
        return None


def _structure(result: Any, tensors: list[Tensor]) -> Any:
    if result is None:
        return None
    if isinstance(result, Tensor):
        tensors.append(result.detach())
        return len(tensors) - 1
    if type(result) in (tuple, list):
        return [type(result).__name__, [_structure(item, tensors) for item in result]]
    raise TypeError(type(result).__name__)


def unpacked(structure: Any, tensors: list[Tensor]) -> Any:
    """The result that ``packed`` was given.

    Example:
        >>> unpacked(["list", [None, 0]], ["a tensor"])
        [None, 'a tensor']
    """
    if structure is None:
        return None
    if isinstance(structure, int):
        return tensors[structure]
    name, items = structure
    made = [unpacked(item, tensors) for item in items]
    return tuple(made) if name == "tuple" else made


def arguments_state(value: Any) -> Any:
    """What shows whether a block changed its arguments: compared before and after; None where nothing can show it.

    A tensor is known by its identity and the count of its changes. An object of another kind may change in ways that
    cannot be seen.
    """
    if isinstance(value, Tensor):
        return ("tensor", id(value), value._version)
    if isinstance(value, PLAIN):
        return ("plain", value)
    if isinstance(value, (tuple, list)):
        parts = [arguments_state(item) for item in value]
    elif isinstance(value, dict):
        parts = [("key", str(key), arguments_state(item)) for key, item in value.items()]
        parts = [None if part[2] is None else part for part in parts]
    else:
        return None
    return None if None in parts else (type(value).__name__, parts)
