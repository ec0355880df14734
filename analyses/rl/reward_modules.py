"""Modules that a configuration names for rewards, tools or an environment: importing one runs its code."""

import importlib
import importlib.util
import json
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from coupling.errors import CouplingError, first_line
from coupling.untrusted import quoted

EXAMPLE = "search"


def find_object(name: str, kind: str, *, folder: str | Path = ".", trust: bool = False) -> Any:
    """What a name of the form ``module:function`` stands for, such as a tool or the class of an environment.

    Args:
        name: the name.
        kind: what messages call it, such as "the reward" or "the tool".
        folder: see ``import_reward_module``.
        trust: see ``import_reward_module``.

    Raises:
        CouplingError: if the name has another form, or its module is not trusted or lacks it.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise CouplingError(f"{kind} {quoted(name)} is not of the form module:function, such as my_module:{EXAMPLE}")
    found = getattr(import_reward_module(module_name, name, kind, folder=folder, trust=trust), attribute, None)
    if not callable(found):
        raise CouplingError(f"the module {module_name} contains no function {attribute}, named by {kind} {name}")
    return found


def import_reward_module(
    module: str, name: str, kind: str = "the reward", *, folder: str | Path = ".", trust: bool = False
) -> Any:
    """Import the module of a reward, a tool or an environment.

    It is looked for in the configuration's folder, in the current folder, and wherever Python searches.

    Args:
        module: the module's name.
        name: the name that the configuration gives, for messages.
        kind: what messages call it.
        folder: the folder of the configuration, which is searched first, and trusted.
        trust: import from anywhere; without it, only from ``folder`` and from installed packages.

    Raises:
        CouplingError: if the module is not found, not trusted, or fails when it is imported.
    """
    with _searched_first(Path(folder).resolve(), Path.cwd()):
        places = _places(module.partition(".")[0])
        outside = next((place for place in places if not _is_trusted(place, Path(folder).resolve())), None)
        if outside is not None and not trust:
            raise CouplingError(
                f"{kind} {name} is in {outside}, which is neither in the folder of the configuration nor an "
                "installed package; importing it runs its code: read it first, then give `trust_rewards=True`"
            )
        try:
            return importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's module may raise anything, SystemExit as well
            raise CouplingError(
                f"cannot import the module {module} of {kind} {name}: {type(error).__name__}: {first_line(error)}"
            ) from None


@contextmanager
def _searched_first(*folders: Path) -> Iterator[None]:
    """A context in which Python looks for modules in some folders first."""
    former = list(sys.path)
    added = [str(folder) for folder in dict.fromkeys(folders) if str(folder) not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry not in added or entry in former]


def _places(package: str) -> list[Path]:
    """Where a top-level module would be imported from, without importing it; empty if it is nowhere or built in."""
    if package in sys.modules:  # its code has run already
        return []
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # importing it says what is wrong
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place).resolve() for place in spec.submodule_search_locations]
    return [Path(spec.origin).resolve()] if spec.has_location and spec.origin else []


def _is_trusted(place: Path, folder: Path) -> bool:
    """Whether a module is in the configuration's folder, Python's own library, or an installed package."""
    paths = sysconfig.get_paths()
    installed = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += [*site.getsitepackages(), site.getusersitepackages()]
    roots = [folder, *(Path(root).resolve() for root in installed), *_editable_projects()]
    return any(place.is_relative_to(root) for root in roots)


def _editable_projects() -> Iterator[Path]:
    """The folders of packages that are installed in editable mode (PEP 610)."""
    for distribution in distributions():
        try:
            content = json.loads(distribution.read_text("direct_url.json") or "{}")
            if content.get("dir_info", {}).get("editable"):
                yield Path(unquote(urlparse(content["url"]).path)).resolve()
        except (OSError, ValueError, KeyError, AttributeError):  # an installation that is damaged trusts nothing
            continue
