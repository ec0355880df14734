"""Programs on top of the library: other libraries are quiet, and an error is one line."""

import gc
import importlib
import os
import subprocess
import sys

import pytest

from coupling.errors import CouplingError
from coupling.programs import errors_in_one_line, loading_libraries
from tests.helpers import ROOT

QUIET = """
import sys
{before}
from coupling.cli.output import PlainConsole
from coupling.programs import quiet_libraries
quiet_libraries()
assert ("transformers" in sys.modules) == {imported}
from transformers.utils import logging
assert logging.get_verbosity() == logging.ERROR
assert not logging.is_progress_bar_enabled()
"""


@pytest.mark.parametrize(("before", "imported"), [("", False), ("import transformers", True)])
def test_libraries_are_quiet_without_being_imported(before, imported):
    environment = {name: value for name, value in os.environ.items() if name != "TRANSFORMERS_VERBOSITY"}
    code = QUIET.format(before=before, imported=imported)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


LOADING = """
import gc
from coupling.programs import loading_libraries
collections = []
gc.callbacks.append(lambda phase, info: collections.append(info["generation"]))
with loading_libraries():
    import coupling.pipeline
    assert not collections
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
gc.collect()
assert collections
"""


def test_nothing_is_collected_while_libraries_are_loaded():
    """And at the end no library complains of what it finds not collected."""
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with loading_libraries():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CouplingError("there is no K"), 1, "error: there is no K"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: cannot read or write /x: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted; continue with the same command"),
    ],
)
def test_an_error_is_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as end, errors_in_one_line():
        raise error
    assert end.value.code == status
    assert capsys.readouterr().err == f"{line}\n"


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), errors_in_one_line():
        raise ZeroDivisionError
    with pytest.raises(OSError, match="without a number"), errors_in_one_line():
        raise OSError("without a number")


def programs() -> list[str]:
    """Every module of studies that is started by itself and takes ``--out``."""
    places = [*ROOT.glob("analyses/studies/**/*.py"), *ROOT.glob("analyses/vision/*.py")]
    mains = [path for path in places if "def main() -> None:" in path.read_text()]
    return sorted(".".join(("coupling", *path.relative_to(ROOT).with_suffix("").parts)) for path in mains)


@pytest.mark.parametrize("program", programs())
def test_every_study_says_in_one_line_that_it_cannot_write(program, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["study", "--out", str(tmp_path / "file" / "folder")])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(program).main()
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
