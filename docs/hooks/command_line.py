"""Write the reference of the command line from the Typer application, so that it cannot differ from it."""

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from mkdocs.structure.pages import Page
from typer.models import ArgumentInfo

PAGE, MARKER = "reference/cli.md", "<!-- commands -->"
ARGUMENTS, OPTIONS = "Arguments", "Options"
"""The panels of arguments, and of options that name no panel; they come first."""
WORDS = {int: "integer", float: "number", str: "text", Path: "path"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command: its name in Python, what Typer knows of it, its type and its default."""

    name: str
    info: Any
    kind: Any
    default: Any

    @property
    def is_argument(self) -> bool:
        """Whether it is an argument, not an option."""
        return isinstance(self.info, ArgumentInfo)

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def panel(self) -> str:
        """The panel of the help that it belongs to."""
        return ARGUMENTS if self.is_argument else self.info.rich_help_panel or OPTIONS

    @property
    def heading(self) -> str:
        """Its spellings, and the values that it takes."""
        if self.is_argument:
            return f"`{self.placeholder}`"
        names = ", ".join(f"`{spelling}`" for spelling in sorted(self.spellings, key=len, reverse=True))
        return f"{names} {self._values()}".strip()

    @property
    def spellings(self) -> list[str]:
        """All spellings of an option; Typer keeps the first one of an annotation in the place of the default."""
        first = [self.info.default] if isinstance(self.info.default, str) else []
        return [*first, *(self.info.param_decls or ())] or [f"--{self.name.replace('_', '-')}"]

    @property
    def placeholder(self) -> str:
        """An argument as the usage shows it; in brackets where it may be left out."""
        name = (self.info.metavar or self.name.upper()).strip("[]")
        return name if self.is_required else f"[{name}]"

    @property
    def description(self) -> str:
        """Its help, its default, and whether it must be given."""
        text = (self.info.help or "").strip()
        if self.is_required:
            return f"{text} Required." if not self.is_argument else text
        if self.info.show_default and self.default is not None and self.kind is not bool:
            shown = self.default.value if isinstance(self.default, Enum) else self.default
            text += f" Default: `{shown}`."
        return text

    def _values(self) -> str:
        kind = self.kind
        if typing.get_origin(kind) is list:
            (kind,) = typing.get_args(kind)
        if kind is bool:
            return ""
        if typing.get_origin(kind) is Literal:
            return " | ".join(f"`{choice}`" for choice in typing.get_args(kind))
        if isinstance(kind, type) and issubclass(kind, Enum):
            return " | ".join(f"`{choice.value}`" for choice in kind)
        low, high = self.info.min, self.info.max
        bounds = "" if not low else f", {low} to {high}" if high else f", at least {low}"
        return f"*{self.info.metavar or WORDS[kind]}{bounds}*"


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Replace the marker of the reference page with all commands."""
    return markdown.replace(MARKER, "\n".join(commands())) if page.file.src_uri == PAGE else markdown


def commands() -> Iterator[str]:
    """Lines of Markdown: every command with its arguments and options."""
    from coupling.cli.app import app

    for command in app.registered_commands:
        assert command.callback is not None  # every command has a function
        parameters = list(parameters_of(command.callback))
        usage = [item.placeholder for item in parameters if item.is_argument]
        yield f"## coupling {command.name}\n"
        yield f"{inspect.getdoc(command.callback)}\n"
        yield f"```text\n{' '.join(['coupling', str(command.name), *usage, '[OPTIONS]'])}\n```\n"
        panels: dict[str, list[Parameter]] = {ARGUMENTS: [], OPTIONS: []}
        for item in parameters:
            panels.setdefault(item.panel, []).append(item)
        for title, items in panels.items():
            if items:
                yield f"**{title}**\n"
            for item in items:
                yield f"{item.heading}\n:   {item.description}\n"


def parameters_of(function: Any) -> Iterator[Parameter]:
    """The parameters of a command's function, except those that its help hides."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        if types.NoneType in typing.get_args(kind):  # None stands for an option that was not given
            kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        if not info.hidden:
            yield Parameter(name, info, kind, parameter.default)
