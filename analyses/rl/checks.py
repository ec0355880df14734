"""Checks of a mapping against a dataclass: every key is a field, and every value has the field's type."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from coupling.errors import CouplingError
from coupling.untrusted import clean, quoted


@dataclass(frozen=True)
class _Expected:
    """The values that a field accepts.

    Attributes:
        types: types of the value.
        description: what a message calls them.
        elements: the types of a list's elements.
    """

    types: tuple[type, ...]
    description: str
    elements: tuple[type, ...] = (str,)

    def accepts(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return isinstance(value, self.types) and all(has_type(element, *self.elements) for element in value)
        return has_type(value, *self.types)


_EXPECTED = {
    "str": _Expected((str,), "a text"),
    "str | None": _Expected((str, type(None)), "a text"),
    "int": _Expected((int,), "a whole number"),
    "int | None": _Expected((int, type(None)), "a whole number"),
    "float": _Expected((int, float), "a number"),
    "float | None": _Expected((int, float, type(None)), "a number"),
    "bool": _Expected((bool,), "true or false"),
    "tuple[int | str, ...]": _Expected(
        (int, str, list, tuple), "whole numbers, or shares of the width such as 10%", elements=(int, str)
    ),
    "tuple[int, ...]": _Expected((int, list, tuple), "whole numbers", elements=(int,)),
    "tuple[str, ...]": _Expected((str, list, tuple), "texts"),
    "tuple[str, ...] | None": _Expected((str, list, tuple, type(None)), "texts"),
    "tuple[str, ...] | str | None": _Expected((str, list, tuple, type(None)), "texts or a file"),
    "dict[str, Any]": _Expected((dict,), "a mapping"),
    "dict[str, Any] | None": _Expected((dict, type(None)), "a mapping"),
    "DataConfig": _Expected((dict,), "a mapping"),
    "DataConfig | None": _Expected((dict, type(None)), "a mapping"),
    "ProbeConfig": _Expected((dict,), "a mapping"),
    "EvaluationConfig | None": _Expected((dict, type(None)), "a mapping"),
}
"""What the fields of the configuration accept, by their annotations."""


def check_fields(kind: type, content: Any, prefix: str = "") -> dict[str, Any]:
    """Check a mapping against the fields of a dataclass.

    Args:
        kind: the dataclass.
        content: the mapping.
        prefix: what messages write before a key, such as ``"data."``.

    Returns:
        The mapping as a dictionary.

    Raises:
        CouplingError: if it is not a mapping, a key is not a field, or a value does not have the field's type.
    """
    annotations = {item.name: _annotation(item.type) for item in fields(kind)}
    names = ", ".join(annotations)
    if not isinstance(content, Mapping):
        raise CouplingError(f"{prefix.rstrip('.') or 'the content'} is not a mapping with the keys {names}")
    for name, value in content.items():
        if name not in annotations:
            raise CouplingError(f"there is no key {prefix}{named(name, annotations)}; the known keys are {names}")
        expected = _EXPECTED[annotations[name]]
        if not expected.accepts(value):
            raise CouplingError(f"{prefix}{name} is {quoted(value)}, but must be {expected.description}")
    return dict(content)


def has_type(value: Any, *types: type) -> bool:
    """Whether a value has one of some types; True and False are not whole numbers, as they are for ``isinstance``.

    Example:
        >>> has_type(3, int, float), has_type(True, int), has_type(True, bool)
        (True, False, True)
    """
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def named(name: object, known: Iterable[str]) -> str:
    """An unknown name as a message shows it, with the known name that it resembles."""
    shown = clean(name, 80)
    return shown + did_you_mean(shown, known)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the known name which an unknown one resembles; an empty text if none is similar.

    Example:
        >>> did_you_mean("learning_rat", ["learning_rate", "max_steps"])
        ' (did you mean learning_rate?)'
    """
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _annotation(annotation: Any) -> str:
    """An annotation as it is written in the class, such as ``str | None``."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return re.sub(r"[A-Za-z_][\w.]*\.(?=\w)", "", str(annotation))  # without the names of modules
