"""The error that a user can correct, the packages that are optional, and keywords that were renamed.

Messages name Python arguments between backquotes, such as ``give `resume=True` to continue it``. The command line
translates them into its own options (``coupling.cli.options.as_options``).
"""

import warnings
from importlib.util import find_spec
from typing import TypeVar

EXTRAS = {
    "jinja2": "report",
    "statsmodels": "statistics",
    "datasets": "datasets",
    "trl": "rl",
    "peft": "lora",
    "gguf": "gguf",
    "ray": "ray",
    "mistral_common": "mistral",
    "powerlaw": "baselines",
    "PIL": "vision",
    "timm": "vision",
    "torchvision": "vision",
    "sklearn": "vision",
}
"""Modules that the base install does not bring, and the extra that brings each."""

T = TypeVar("T")


class CouplingError(ValueError):
    """Something that was given is wrong; the message names it, what was expected, and what to do next."""


class CouplingWarning(UserWarning):
    """Something that a user should know and that stops nothing; the command line prints it as one line."""


class DivergedError(CouplingError):
    """A model diverged in training: a loss, a reward, a gradient or a weight is not finite."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): what is kept is kept as after Ctrl-C, and the exit code is 143."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's type where the message is empty."""
    lines = str(error)[:10_000].strip().splitlines()  # the message may contain all that was read
    return lines[0][:1000] if lines else type(error).__name__


def missing_extra(module: str, purpose: str) -> CouplingError:
    """The error for an optional module that is not installed; it names the extra that brings it.

    Args:
        module: a module of ``EXTRAS``.
        purpose: what needs the module; the subject of the sentence.
    """
    package = {
        "mistral_common": "mistral-common",
        "PIL": "pillow",
        "sklearn": "scikit-learn",
    }.get(module, module)
    return CouplingError(
        f"{purpose} needs the {package} package, which is not installed: pip install 'block-coupling[{EXTRAS[module]}]'"
    )


def require(*modules: str, purpose: str) -> None:
    """Check that optional modules are installed.

    Args:
        *modules: modules of ``EXTRAS``.
        purpose: what needs them; the subject of the error's sentence.

    Raises:
        CouplingError: if one is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            raise missing_extra(module, purpose)


def renamed(old: str, old_value: T | None, new: str, new_value: T | None) -> T | None:
    """The value of a keyword that has a new name; the old name still works, with a warning.

    Args:
        old: the keyword's old name.
        old_value: what was given under the old name; None for nothing.
        new: the keyword's present name.
        new_value: what was given under the present name.

    Raises:
        TypeError: if both were given.
    """
    if old_value is None:
        return new_value
    if new_value is not None:
        raise TypeError(f"{new} and its old name {old} were both given")
    warnings.warn(f"the keyword {old} is now called {new}", FutureWarning, stacklevel=3)
    return old_value


def one_line(error: BaseException, most: int = 300) -> str:
    """An error's whole message on one line, cut to ``most`` characters."""
    return " ".join(str(error)[: 100 * most].split())[:most]
