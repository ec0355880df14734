"""A study file: YAML read together with the line of every key and every item, which messages name."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from coupling.errors import CouplingError
from coupling.untrusted import MOST_YAML, clean, expanded, parse_yaml, read_text

Lines = Mapping[tuple[Hashable, ...], int]
"""From the path of a value, such as ``("models", 2)``, to its line, counted from 1."""


def read_study_file(path: str | Path) -> tuple[Any, dict[tuple[Hashable, ...], int]]:
    """The content of a YAML file, and where each of its values stands.

    Args:
        path: the file.

    Returns:
        The content, and the line of every value by its path.

    Raises:
        CouplingError: if the file cannot be read, is not YAML, is empty, or gives a key twice.
    """
    path = expanded(path)
    try:
        text = read_text(path, MOST_YAML)
    except OSError as error:
        raise CouplingError(f"cannot read the study file {clean(path, 300)}: {error.strerror or error}") from None
    content = parse_yaml(text, path)  # bounds what the aliases amount to, before they are followed below
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        raise CouplingError(f"the study file {clean(path, 300)} is empty; it needs at least the key models")
    lines: dict[tuple[Hashable, ...], int] = {}
    _collect_lines(node, (), lines, path)
    return content, lines


def _collect_lines(
    node: yaml.Node, path: tuple[Hashable, ...], lines: dict[tuple[Hashable, ...], int], file: Path
) -> None:
    """Note the line of a node and of everything below it; a key's line is that of its value's path."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            line = key.start_mark.line + 1
            if place in lines:
                raise CouplingError(
                    f"{clean(file, 300)}, line {line}: the key {clean(key.value, 80)} is given twice, "
                    f"also in {lines[place]}"
                )
            lines[place] = line
            _collect_lines(value, place, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*path, index), lines, file)
