"""The Python standard library's own source as a language-modeling corpus: text that exists on every machine."""

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "asyncio",
    "collections",
    "concurrent",
    "email",
    "html",
    "http",
    "importlib",
    "json",
    "logging",
    "multiprocessing",
    "re",
    "sqlite3",
    "tomllib",
    "unittest",
    "urllib",
    "wsgiref",
    "xml",
    "xmlrpc",
    "zoneinfo",
)
"""The packages that are read in addition to the top-level modules."""

HELD_OUT_SHARE = 1 / 20


@dataclass(frozen=True)
class Module:
    """One source file: its path inside the standard library, and its text."""

    name: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether the module is kept for evaluation; a hash of its name alone decides."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def standard_library() -> list[Module]:
    """Read the running interpreter's standard library without its tests, sorted by name."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = list(root.glob("*.py"))
    for package in PACKAGES:
        paths += [path for path in (root / package).rglob("*.py") if "test" not in path.parts]
    modules = []
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if name.startswith("_sysconfigdata"):  # it differs from build to build
            continue
        modules.append(Module(name, path.read_text(encoding="utf-8", errors="strict")))
    return modules
