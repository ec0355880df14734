"""How the help of the commands looks: two columns that a narrow terminal puts below each other, and an example."""

import inspect
import os
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

WIDEST, NARROW = 100, 72
"""Columns: help is at most so wide, and below the second number an option's text stands below its name."""
INDENT, COLUMN = "  ", 28
"""What is before an option's name, and where its text begins."""
NAMES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""What stands for a value, by its type."""


class CommandHelp(TyperCommand):
    """A command whose help is laid out by this file; its epilog contains an example per line."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command."""
        formatter.write("\n".join(_command(self, ctx)) + "\n")


class GroupHelp(TyperGroup):
    """The application, whose help lists the commands in the order of use."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the application."""
        formatter.write("\n".join(_group(self, ctx)) + "\n")


def _group(group: Any, ctx: Any) -> Iterator[str]:
    width = _width()
    yield f"Usage: {ctx.command_path} COMMAND [OPTIONS]"
    yield from ("", *_wrapped(group.help or "", width, INDENT), "", _title("Commands"))
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is not None and not command.hidden:
            yield from _row(name, (command.help or "").split("\n\n")[0], width, column=13)
    yield from _options(group, ctx, width)
    yield from ("", *_wrapped(f"{ctx.command_path} COMMAND --help describes a command.", width, ""))


def _command(command: Any, ctx: Any) -> Iterator[str]:
    width = _width()
    arguments = [_placeholder(item) for item in _shown(command, ctx) if item.param_type_name == "argument"]
    yield f"Usage: {' '.join([ctx.command_path, *arguments, '[OPTIONS]'])}"
    for paragraph in (command.help or "").split("\n\n"):
        yield from ("", *_wrapped(paragraph, width, INDENT))
    if command.epilog:
        lines = command.epilog.strip().splitlines()
        yield from ("", _title("Example" if len(lines) == 1 else "Examples"))
        yield from (f"{INDENT}{line.strip()}" for line in lines)  # as they are, so that they can be copied
    yield from _options(command, ctx, width)


def _options(command: Any, ctx: Any, width: int) -> Iterator[str]:
    """Arguments first, then the panels in the order of their first option; options without a panel are last."""
    panels: dict[str, list[Any]] = {"Arguments": []}
    others: list[Any] = []
    for item in _shown(command, ctx):
        if item.param_type_name == "argument":
            panels["Arguments"].append(item)
        elif item.rich_help_panel if hasattr(item, "rich_help_panel") else None:
            panels.setdefault(item.rich_help_panel, []).append(item)
        else:
            others.append(item)
    for title, items in (*panels.items(), ("Other options" if len(panels) > 1 else "Options", others)):
        if items:
            yield from ("", _title(title))
        for item in items:
            kind = _type_of(command, item)
            yield from _row(_heading(item, kind), _description(item, kind), width)


def _shown(command: Any, ctx: Any) -> list[Any]:
    return [item for item in command.get_params(ctx) if not getattr(item, "hidden", False)]


def _placeholder(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _type_of(command: Any, item: Any) -> Any:
    """The type of a parameter, from the annotations of the command's function; that of the values of a list."""
    annotated = typing.get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    kind = annotated.get(item.name, str)
    for inner in typing.get_args(kind):
        if typing.get_origin(kind) is not Literal and inner is not type(None):
            return typing.get_args(inner)[0] if typing.get_origin(inner) is list else inner
    return kind


def _choices(kind: Any) -> list[str]:
    return [str(choice) for choice in typing.get_args(kind)] if typing.get_origin(kind) is Literal else []


def _heading(item: Any, kind: Any) -> str:
    if item.param_type_name == "argument":
        return _placeholder(item)
    names = ", ".join([*sorted(item.opts, key=len), *item.secondary_opts])
    return names if getattr(item, "is_flag", False) or item.secondary_opts else f"{names} {_value(item, kind)}"


def _value(option: Any, kind: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    return NAMES.get(kind, str(option.name).rpartition("_")[2].upper())


def _description(item: Any, kind: Any) -> str:
    """The text, the choices where there are any, and the default."""
    text = str(item.help or "").strip()
    choices = _choices(kind)
    if not all(re.search(rf"(?<![\w-]){re.escape(choice)}(?![\w-])", text) for choice in choices):
        text += f" One of {', '.join(choices)}."
    if getattr(item, "required", False) and item.param_type_name != "argument":
        text += " Required."
    if item.secondary_opts and item.default:
        text += " This is the default."
    elif _shows_default(item):
        text += f" Default: {getattr(item.default, 'value', item.default)}."
    return text.strip()


def _shows_default(item: Any) -> bool:
    default = item.default
    is_value = default is not None and default is not False and default not in ((), []) and not callable(default)
    return bool(getattr(item, "show_default", False)) and is_value and not getattr(item, "is_flag", False)


def _row(name: str, text: str, width: int, *, column: int = COLUMN) -> Iterator[str]:
    """A name with its text beside it, or below it where the terminal is narrow or the name is long."""
    is_beside = width >= NARROW or column < COLUMN
    lines = _wrapped(text, width, " " * column if is_beside else INDENT * 3)
    if is_beside and len(INDENT) + len(name) + 2 <= column and lines:
        yield f"{INDENT}{name}".ljust(column) + lines.pop(0).strip()
    else:
        yield f"{INDENT}{name}"
    yield from lines


def _title(text: str) -> str:
    """A title, bold on a terminal; what is not a terminal is given no escape sequences."""
    return typer.style(text, bold=True) if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _width() -> int:
    return max(40, min(WIDEST, shutil.get_terminal_size().columns))
