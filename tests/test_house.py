"""The shape of the house: imports run one way, files are short, every module has its tests, types are checked."""

import re
import subprocess
import sys

import pytest

from tests.helpers import ROOT

ROOMS = ("coupling", "analyses", "figures", "cli")
MODULES = [
    path.relative_to(ROOT)
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents if parent != ROOT)
]
MOST_LINES = 320


def test_the_rooms_are_found():
    assert len(MODULES) > 80
    assert {path.parts[0] for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize(
    ("room", "above"),
    [
        ("coupling", ("analyses", "figures", "cli")),
        ("figures", ("analyses", "cli")),
        ("analyses", ("cli",)),
    ],
)
def test_imports_run_one_way(room, above):
    """The library's ``__init__`` hands on its parts by name; nothing else may name a room above."""
    pattern = re.compile(rf"^\s*(?:from|import) coupling\.({'|'.join(above)})\b", re.M)
    for path in MODULES:
        if path.parts[0] == room and "studies" not in path.parts:
            assert not pattern.search((ROOT / path).read_text()), path


def test_files_fit_a_few_screens():
    """A longer file says in its first lines why."""
    for path in MODULES:
        text = (ROOT / path).read_text()
        head = "\n".join(text.splitlines()[:12])
        assert len(text.splitlines()) <= MOST_LINES or "This file is long" in head, path


def test_every_module_has_its_test_file():
    exempt = {"__init__.py", "__main__.py", "version.py"}
    missing = []
    for path in MODULES:
        if path.name in exempt:
            continue
        inner = path.parts[1:] if path.parts[0] == "coupling" else path.parts
        expected = ROOT.joinpath("tests", *inner[:-1], f"test_{path.name}")
        if not expected.exists():
            missing.append(str(expected.relative_to(ROOT)))
    assert missing == []


@pytest.mark.slow
def test_mypy_sees_a_wrong_call_across_rooms(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text(
        "from coupling.analyses.correlation.matching import fold\n"
        "from coupling.figures.style import printable\n"
        "fold(3)\n"
        "printable(None, longest='x')\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", planted]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.count("[arg-type]") == 3, result.stdout
